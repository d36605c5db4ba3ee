package main

import (
	"strconv"
	"strings"
	"syscall"
)

// readVariables returns the `NAME=value` entries of the file.
func readVariables(path string) ([]string, *fault) {
	content, err := readFile(path)
	if err != nil {
		return nil, &fault{127, path + " cannot be read: " + err.Error(), "start the service with docker dso up"}
	}
	variables, problem := parseVariables(content)
	if problem != "" {
		return nil, &fault{127, path + " is malformed: " + problem, "restart the container to have it written again"}
	}
	return variables, nil
}

// parseVariables reads `NAME=value` entries, each ended by a NUL byte. A last entry without it comes
// from a write that was cut off. The problem quotes no entry, because that can be part of a value.
func parseVariables(content string) (variables []string, problem string) {
	seen := map[string]bool{}
	for content != "" {
		entry, rest, ended := strings.Cut(content, "\x00")
		name, _, isVariable := strings.Cut(entry, "=")
		number := strconv.Itoa(len(variables) + 1)
		switch {
		case !ended:
			return nil, "it ends within entry " + number
		case !isVariable || !isName(name):
			return nil, "entry " + number + " has no valid name"
		case seen[name]:
			return nil, "entry " + number + " repeats a name"
		}
		seen[name] = true
		variables = append(variables, entry)
		content = rest
	}
	return variables, ""
}

// isName allows what container engines allow, such as `spring.datasource.password`.
func isName(name string) bool {
	return name != "" && printable(name) == name
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
