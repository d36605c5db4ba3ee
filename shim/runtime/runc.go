package main

import (
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Where runc is searched if PATH does not have it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findRunc returns the runc that the engine itself would use.
func findRunc(environment []string) (string, *fault) {
	path := defaultPath
	for _, entry := range environment {
		if value, found := strings.CutPrefix(entry, "PATH="); found {
			path = value + ":" + defaultPath
		}
	}
	for _, directory := range strings.Split(path, ":") {
		file := directory + "/runc"
		// Programs in the working directory, which an empty element means, do not count.
		if status, err := os.Stat(file); directory != "" && err == nil && status.Mode().IsRegular() && status.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", &fault{"there is no runc in PATH", "install runc, or make a container without runtime: on"}
}

// become replaces this process by runc. It returns only if it cannot.
func become(runc string, arguments, environment []string) *fault {
	return cannotStart(runc, syscall.Exec(runc, append([]string{runc}, arguments...), environment))
}

// wait starts runc and returns its exit code. runc ends if this process is killed.
func wait(runc string, arguments, environment []string) (int, *fault) {
	// The kernel kills the child when the thread ends that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(runc, append([]string{runc}, arguments...), &syscall.ProcAttr{
		Env:   environment,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, cannotStart(runc, err)
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(pid, &status, 0, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return 0, cannotStart(runc, err)
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

func cannotStart(runc string, err error) *fault {
	return &fault{runc + " cannot start: " + err.Error(), "check the installation of runc"}
}
