package main

import (
	"strconv"
	"strings"
	"syscall"

	"keyferry/dso-shim/variables"
)

// Where shells search if there is no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// start replaces this process by the program. It returns only if it cannot: whether there is such a
// program, and why it does not start. As execvp does, it passes over files in PATH that it may not
// execute. It passes over the shim too.
func start(program string, arguments, environment []string, shim identity) (found bool, _ *fault) {
	var denied *fault
	for _, path := range candidates(program, environment) {
		file, err := identify(path)
		if err == nil && file == shim {
			if path == program {
				return true, &fault{126, printable(program) + " is the shim itself", "name the program of the image"}
			}
			continue
		}
		if err == nil {
			err = syscall.Exec(path, arguments, environment)
			if err != syscall.EACCES {
				return true, cannotStart(path, err, environment)
			}
		}
		if err == syscall.EACCES && denied == nil {
			denied = cannotStart(path, err, environment)
		}
	}
	return denied != nil, denied
}

// candidates returns the paths that the name of a program can mean.
func candidates(program string, environment []string) []string {
	if program == "" {
		return nil
	}
	if strings.Contains(program, "/") {
		return []string{program}
	}
	path, found := lookUp("PATH", environment)
	if !found {
		path = defaultPath
	}
	elements := strings.Split(path, ":")
	for i, element := range elements {
		elements[i] = orWorkingDirectory(element) + "/" + program
	}
	return elements
}

// cannotStart explains why a file that exists does not start.
func cannotStart(path string, err error, environment []string) *fault {
	cause := printable(path) + " cannot start: "
	switch err {
	case syscall.ENOENT:
		return &fault{127, cause + "the image lacks its interpreter or loader", "install what it needs in the image"}
	case syscall.EACCES:
		return &fault{126, cause + err.Error(), "make it executable for the user of the container"}
	case syscall.ENOEXEC:
		return &fault{126, cause + err.Error(), "use an image for this processor, and begin a script with #!"}
	case syscall.E2BIG:
		name, size := longest(environment)
		cause += err.Error() + ", the longest variable is " + printable(name) + " with " + strconv.Itoa(size) + " bytes"
		return &fault{126, cause, "use dsofile:// for it"}
	}
	return &fault{126, cause + err.Error(), "check the image and the limits of the container"}
}

// longest returns the name and the size of the longest entry.
func longest(environment []string) (name string, size int) {
	for _, entry := range environment {
		if len(entry) > size {
			name, size = variables.Name(entry), len(entry)
		}
	}
	return name, size
}
