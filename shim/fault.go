package main

import (
	"os"
	"strings"
)

// fault is why the shim starts no program. It never holds a value.
type fault struct {
	// 127 or 126, as shells have them.
	exitCode int
	cause    string
	remedy   string
}

var badCall = fault{127, "the shim is called without a program", "call it as dso-shim -- PROGRAM ARGUMENTS"}

func notFound(program string) *fault {
	return &fault{127, printable(program) + " is not in the container", "check the name and the PATH, or add it to the image"}
}

// report writes one line to standard error and returns the exit code.
func (f *fault) report() int {
	os.Stderr.WriteString("dso: " + f.cause + "; " + f.remedy + "\n")
	return f.exitCode
}

// write writes to standard output and returns the exit code.
func write(text string) int {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return 1
	}
	return 0
}

// printable replaces control characters, so that a message stays one line.
func printable(text string) string {
	return strings.Map(func(character rune) rune {
		if character < ' ' || character == '\x7f' {
			return '?'
		}
		return character
	}, text)
}
