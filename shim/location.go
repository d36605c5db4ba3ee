package main

import (
	"os"
	"strings"
	"syscall"
)

// location says where the shim lies.
type location struct {
	// The directory of the shim, which shadows the PATH of the image.
	shadow identity
	// The file of the shim. Its links are the same file.
	shim identity
	// The path of the file with the variables, in the directory above.
	variables string
}

// identity is a file or directory, by whatever path. The zero value is no file.
type identity struct{ device, inode uint64 }

func identify(path string) (identity, error) {
	var status syscall.Stat_t
	if err := syscall.Stat(path, &status); err != nil {
		return identity{}, err
	}
	return identity{uint64(status.Dev), status.Ino}, nil
}

func locate(arguments []string) location {
	path := ownPath(arguments)
	directory := parent(path)
	// A file that cannot be identified is no file: then nothing is equal to it.
	shadow, _ := identify(directory)
	shim, _ := identify(path)
	return location{shadow, shim, parent(directory) + "/env"}
}

// ownPath returns the absolute path of the shim. A container can lack /proc.
func ownPath(arguments []string) string {
	if path, err := os.Readlink("/proc/self/exe"); err == nil {
		return path
	}
	if len(arguments) > 0 && strings.HasPrefix(arguments[0], "/") {
		return arguments[0]
	}
	return "/run/dso/bin/" + shimName
}

// parent returns the directory of an absolute path, without a slash at its end.
func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}
