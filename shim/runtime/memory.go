package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// memfd_create(2)
const closeOnExec = 1

// keepInMemory returns the path of a file that exists in the memory of this process alone, and as long
// as it runs. No child inherits it: runc opens the path.
func keepInMemory(content []byte) (string, *fault) {
	name := [...]byte{'d', 's', 'o', 0}
	descriptor, _, failure := syscall.Syscall(memfdCreate, uintptr(unsafe.Pointer(&name)), closeOnExec, 0)
	if failure != 0 {
		return "", &fault{"memory for the variables cannot be had: " + failure.Error(), "use Linux 3.17 or newer"}
	}
	for len(content) > 0 {
		written, err := syscall.Write(int(descriptor), content)
		if err != nil {
			return "", &fault{"memory for the variables cannot be had: " + err.Error(), "free some memory"}
		}
		content = content[written:]
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), descriptor), nil
}

// putLink replaces a file by a link until `restore` puts it back.
func putLink(path, target string) (restore func() *fault, _ *fault) {
	kept, link := path+".dso", path+".link"
	cannot := func(err error) *fault {
		return &fault{"the bundle cannot be changed: " + err.Error(), "see the log of the engine"}
	}
	// A link that a killed process has left.
	os.Remove(link)
	if err := os.Symlink(target, link); err != nil {
		return nil, cannot(err)
	}
	if err := os.Link(path, kept); err != nil {
		os.Remove(link)
		return nil, cannot(err)
	}
	if err := os.Rename(link, path); err != nil {
		os.Remove(link)
		os.Remove(kept)
		return nil, cannot(err)
	}
	return func() *fault {
		if err := os.Rename(kept, path); err != nil {
			return cannot(err)
		}
		return nil
	}, nil
}
