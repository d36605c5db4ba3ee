package main

import "strings"

// call is a command line of runc.
type call struct {
	arguments []string
	command   string
	// Of --root, --log, --log-format and --bundle, or what runc takes without them.
	root, log, logFormat, bundle string
	// The index of the argument with the value of --process. 0: the line has no such flag.
	process int
	id      string
}

// Flags of runc without a value. All others have one.
var switches = map[string]bool{
	"debug": true, "systemd-cgroup": true, "help": true, "h": true, "version": true, "v": true,
	"no-pivot": true, "no-new-keyring": true,
	"detach": true, "d": true, "tty": true, "t": true, "no-new-privs": true, "no-subreaper": true,
	"ignore-paused": true,
}

// parse reads what this program needs of a command line. The engine writes the id last.
func parse(arguments []string) call {
	result := call{arguments: arguments, root: "/run/runc", logFormat: "text", bundle: "."}
	for index := 0; index < len(arguments); index++ {
		name, isFlag := strings.CutPrefix(arguments[index], "-")
		if !isFlag {
			if result.command != "" {
				break
			}
			result.command = arguments[index]
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !hasValue && !switches[name] && index+1 < len(arguments) {
			index++
			value = arguments[index]
		}
		switch name {
		case "root":
			result.root = value
		case "log":
			result.log = value
		case "log-format":
			result.logFormat = value
		case "bundle", "b":
			result.bundle = value
		case "process", "p":
			// Of `--process=FILE` the argument is replaced as a whole.
			result.process = index
		}
	}
	if len(arguments) > 0 {
		result.id = arguments[len(arguments)-1]
	}
	return result
}

// processFile returns the path of the file with the process of exec.
func (c call) processFile() string {
	argument := c.arguments[c.process]
	if _, value, isAssigned := strings.Cut(argument, "="); isAssigned && strings.HasPrefix(argument, "-") {
		return value
	}
	return argument
}

// withProcess returns the arguments with another file of the process.
func (c call) withProcess(path string) []string {
	changed := append([]string(nil), c.arguments...)
	if strings.HasPrefix(changed[c.process], "-") {
		path = "--process=" + path
	}
	changed[c.process] = path
	return changed
}
