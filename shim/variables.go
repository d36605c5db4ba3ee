package main

import (
	"strings"
	"syscall"

	"keyferry/dso-shim/variables"
)

// readVariables returns the `NAME=value` entries of the file.
func readVariables(path string) ([]string, *fault) {
	content, err := readFile(path)
	if err != nil {
		return nil, &fault{127, path + " cannot be read: " + err.Error(), "start the service with docker dso up"}
	}
	entries, problem := variables.Parse(content)
	if problem != "" {
		return nil, &fault{127, path + " is malformed: " + problem, "restart the container to have it written again"}
	}
	return entries, nil
}

// readFile makes fewer system calls than os.ReadFile, which prepares to wait for the file.
func readFile(path string) (string, error) {
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(file)
	var content strings.Builder
	buffer := make([]byte, 64*1024)
	for {
		length, err := syscall.Read(file, buffer)
		if length <= 0 || err != nil {
			return content.String(), err
		}
		content.Write(buffer[:length])
	}
}
