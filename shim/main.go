// Dso-shim starts a program of a container with the secrets of its service in its environment.
//
// It lies in /run/dso/bin, a volume that the container mounts. The variables lie above it, in
// /run/dso/env. As `dso-shim -- PROGRAM ARGUMENTS` it is the entrypoint and wraps health checks. By
// any other name, such as `sh`, it starts the program of that name: /run/dso/bin comes first in
// the PATH of the service, so that `docker exec CONTAINER sh` finds the shim.
//
// The program replaces the shim, so it is process 1, and signals and exit codes are its own.
package main

import (
	"os"
	"strings"
	"syscall"

	"keyferry/dso-shim/variables"
)

const shimName = "dso-shim"

// The build sets it.
var version = "0.0.0"

func main() {
	os.Exit(run(os.Args, syscall.Environ()))
}

// run returns the exit code. It does not return if it starts a program.
func run(arguments, inherited []string) int {
	program := calledName(arguments)
	switch {
	case program == shimName && len(arguments) == 2 && arguments[1] == "--version":
		return write(shimName + " " + version + "\n")
	case program == shimName && len(arguments) > 2 && arguments[1] == "--":
		arguments = arguments[2:]
		program = arguments[0]
	case program == shimName || program == "":
		return badCall.report()
	}
	place := locate(os.Args)
	entries, fault := readVariables(place.variables)
	if fault != nil {
		return fault.report()
	}
	environment := withoutShadow(variables.Merge(inherited, entries), place.shadow)
	found, fault := start(program, arguments, environment, place.shim)
	switch {
	case found:
		return fault.report()
	case program == "env" || program == "printenv":
		return printVariables(arguments, environment)
	}
	return notFound(program).report()
}

// calledName returns the name by which the shim is called. A login shell is called `-sh`.
func calledName(arguments []string) string {
	if len(arguments) == 0 {
		return ""
	}
	name := arguments[0][strings.LastIndexByte(arguments[0], '/')+1:]
	return strings.TrimPrefix(name, "-")
}
