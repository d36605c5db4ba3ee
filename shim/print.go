package main

import "strings"

// printVariables does what `env` without arguments, `printenv` and `printenv NAME` do, for images
// that lack these programs. It returns the exit code.
func printVariables(arguments, environment []string) int {
	program, names := calledName(arguments), arguments[1:]
	if len(names) == 0 {
		return write(lines(environment))
	}
	if program == "env" || strings.HasPrefix(names[0], "-") {
		return (&fault{127, "the image has no " + program, "without it, only env, printenv and printenv NAME work"}).report()
	}
	code := 0
	for _, name := range names {
		value, found := lookUp(name, environment)
		if !found || write(value+"\n") != 0 {
			code = 1
		}
	}
	return code
}

func lines(entries []string) string {
	var text strings.Builder
	for _, entry := range entries {
		text.WriteString(entry + "\n")
	}
	return text.String()
}
