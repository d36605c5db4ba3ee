package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"keyferry/dso-shim/variables"
)

// Where a container mounts its volume of variables.
const mountPoint = "/run/dso"

// readBundle returns config.json of a bundle, and the variables of its container; nil without the
// volume of variables.
func readBundle(file string) ([]byte, []string, *fault) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, &fault{"the bundle cannot be read: " + err.Error(), "see the log of the engine"}
	}
	// Most containers have no such volume. This spares them the parser.
	if !bytes.Contains(content, []byte("dso")) {
		return content, nil, nil
	}
	var bundle struct {
		Mounts []struct {
			Destination, Source string
			Options             []string
		}
	}
	if err := json.Unmarshal(content, &bundle); err != nil {
		return nil, nil, malformed(file)
	}
	for _, mount := range bundle.Mounts {
		// The engine mounts the volume read-only. What a container can write is not read here.
		if path.Clean(mount.Destination) == mountPoint && slices.Contains(mount.Options, "ro") {
			entries, fault := readVariables(mount.Source + "/env")
			return content, entries, fault
		}
	}
	return content, nil, nil
}

// variablesOf returns the variables of a running container; nil without the volume of variables. runc
// keeps the path of the bundle in its state.
func variablesOf(call call) ([]string, *fault) {
	file := call.root + "/" + call.id + "/state.json"
	content, err := os.ReadFile(file)
	if err != nil {
		// runc says what it lacks.
		return nil, nil
	}
	if !bytes.Contains(content, []byte(mountPoint)) {
		return nil, nil
	}
	var state struct{ Config struct{ Labels []string } }
	if err := json.Unmarshal(content, &state); err != nil {
		return nil, malformed(file)
	}
	for _, label := range state.Config.Labels {
		if bundle, found := strings.CutPrefix(label, "bundle="); found {
			_, entries, fault := readBundle(bundle + "/config.json")
			return entries, fault
		}
	}
	return nil, &fault{
		file + " does not name the bundle of the container",
		"use a version of runc that this version of docker dso knows",
	}
}

// readVariables returns the entries of a file of variables. It follows no link: the engine has
// opened the directory, and this program reads with the rights of root.
func readVariables(file string) ([]string, *fault) {
	opened, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fault{
			"the variables of the container cannot be read: " + err.Error(),
			"start the service again with docker dso up --force-recreate",
		}
	}
	defer opened.Close()
	if status, err := opened.Stat(); err != nil || !status.Mode().IsRegular() {
		return nil, malformed(file)
	}
	content, err := io.ReadAll(opened)
	if err != nil {
		return nil, malformed(file)
	}
	entries, problem := variables.Parse(string(content))
	if problem != "" {
		return nil, &fault{file + " is malformed: " + problem, "restart the container to have it written again"}
	}
	// Not nil: the container has the volume.
	return append([]string{}, entries...), nil
}

func malformed(file string) *fault {
	return &fault{file + " is malformed", "start the container again"}
}
