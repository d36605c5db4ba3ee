// Dso-runtime is runc, but for containers that mount the volume of variables of docker dso: they get
// these variables in their environment, and so does each program that `docker exec` or a health check
// starts in them. The engine calls it as it calls runc:
//
//	dso-runtime --root ROOT --log LOG --log-format json create --bundle BUNDLE --pid-file FILE ID
//	dso-runtime --root ROOT --log LOG --log-format json exec --process FILE --detach --pid-file FILE ID
//
// It writes no value to a file system: runc reads the configuration with the values out of the memory
// of this process (docs/adr/0024-the-runtime-keeps-values-in-memory.md).
package main

import (
	"os"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], syscall.Environ()))
}

// run returns the exit code. It does not return where runc alone does the work.
func run(arguments, environment []string) int {
	call := parse(arguments)
	runc, fault := findRunc(environment)
	if fault != nil {
		return fault.report(call)
	}
	code := 0
	switch {
	case call.command == "create":
		code, fault = create(call, runc, environment)
	case call.command == "exec" && call.process != 0:
		code, fault = execute(call, runc, environment)
	default:
		fault = become(runc, arguments, environment)
	}
	if fault != nil {
		return fault.report(call)
	}
	return code
}

// create starts a container. runc takes config.json of the bundle out of the memory of this process,
// by a link that is there as long as runc runs. So hooks find the bundle where the engine has it.
func create(call call, runc string, environment []string) (int, *fault) {
	path := call.bundle + "/config.json"
	content, entries, fault := readBundle(path)
	if fault != nil {
		return 0, fault
	}
	if entries == nil {
		return 0, become(runc, call.arguments, environment)
	}
	changed, fault := addToBundle(content, entries)
	if fault != nil {
		return 0, fault
	}
	inMemory, fault := keepInMemory(changed)
	if fault != nil {
		return 0, fault
	}
	restore, fault := putLink(path, inMemory)
	if fault != nil {
		return 0, fault
	}
	code, fault := wait(runc, call.arguments, environment)
	if failure := restore(); fault == nil {
		fault = failure
	}
	return code, fault
}

// execute starts a program in a running container.
func execute(call call, runc string, environment []string) (int, *fault) {
	entries, fault := variablesOf(call)
	if fault != nil {
		return 0, fault
	}
	if entries == nil {
		return 0, become(runc, call.arguments, environment)
	}
	changed, fault := addToFile(call.processFile(), entries)
	if fault != nil {
		return 0, fault
	}
	inMemory, fault := keepInMemory(changed)
	if fault != nil {
		return 0, fault
	}
	return wait(runc, call.withProcess(inMemory), environment)
}
