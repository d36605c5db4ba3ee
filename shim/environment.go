package main

import "strings"

// withoutShadow takes the shadow directory out of PATH, by whatever path it is there. A PATH that has
// nothing else is removed, because an empty PATH would mean the working directory.
func withoutShadow(environment []string, shadow identity) []string {
	result := make([]string, 0, len(environment))
	for _, entry := range environment {
		path, isPath := strings.CutPrefix(entry, "PATH=")
		if !isPath {
			result = append(result, entry)
			continue
		}
		var kept []string
		for _, directory := range strings.Split(path, ":") {
			if found, err := identify(orWorkingDirectory(directory)); err != nil || found != shadow {
				kept = append(kept, directory)
			}
		}
		if kept != nil {
			result = append(result, "PATH="+strings.Join(kept, ":"))
		}
	}
	return result
}

// orWorkingDirectory returns the directory that an element of PATH means.
func orWorkingDirectory(element string) string {
	if element == "" {
		return "."
	}
	return element
}

func lookUp(name string, environment []string) (value string, found bool) {
	for _, entry := range environment {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value, true
		}
	}
	return "", false
}
