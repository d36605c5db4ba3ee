// Mount mounts a tmpfs. The image of the agent has no other program that can, and Node has no such
// call. It takes the command line of mount(8):
//
//	mount -t tmpfs -o mode=0700,nosuid,nodev,noswap SOURCE DIRECTORY
package main

import (
	"os"
	"strings"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// Options that are flags of the system call. The file system reads all others. mount(2)
var flags = map[string]uintptr{
	"nodev":  syscall.MS_NODEV,
	"noexec": syscall.MS_NOEXEC,
	"nosuid": syscall.MS_NOSUID,
	"ro":     syscall.MS_RDONLY,
}

func run(arguments []string) int {
	if len(arguments) != 6 || arguments[0] != "-t" || arguments[1] != "tmpfs" || arguments[2] != "-o" {
		return fail("usage: mount -t tmpfs -o OPTIONS SOURCE DIRECTORY", 1)
	}
	set, data := split(arguments[3])
	source, directory := arguments[4], arguments[5]
	if err := syscall.Mount(source, directory, "tmpfs", set, data); err != nil {
		return fail("mount: "+directory+": "+err.Error(), 32)
	}
	return 0
}

// split returns the flags of options, and what the file system reads.
func split(options string) (set uintptr, data string) {
	var rest []string
	for _, option := range strings.Split(options, ",") {
		if flag, found := flags[option]; found {
			set |= flag
		} else {
			rest = append(rest, option)
		}
	}
	return set, strings.Join(rest, ",")
}

func fail(message string, code int) int {
	os.Stderr.WriteString(message + "\n")
	return code
}
