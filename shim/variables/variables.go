// Package variables reads the file of a container's variables, which the agent writes into its volume.
package variables

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads `NAME=value` entries, each ended by a NUL byte. A last entry without it comes
// from a write that was cut off. The problem quotes no entry, because that can be part of a value.
func Parse(content string) (entries []string, problem string) {
	seen := map[string]bool{}
	for content != "" {
		entry, rest, ended := strings.Cut(content, "\x00")
		name, _, isVariable := strings.Cut(entry, "=")
		number := strconv.Itoa(len(entries) + 1)
		switch {
		case !ended:
			return nil, "it ends within entry " + number
		case !isVariable || !isName(name):
			return nil, "entry " + number + " has no valid name"
		case seen[name]:
			return nil, "entry " + number + " repeats a name"
		}
		seen[name] = true
		entries = append(entries, entry)
		content = rest
	}
	return entries, ""
}

// isName allows what container engines allow, such as `spring.datasource.password`.
func isName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexFunc(name, isControl) < 0
}

func isControl(character rune) bool {
	return character < ' ' || character == '\x7f'
}

// Merge returns the inherited environment with the entries, which replace those of the same name.
func Merge(inherited, entries []string) []string {
	replaced := map[string]bool{}
	for _, entry := range entries {
		replaced[Name(entry)] = true
	}
	environment := make([]string, 0, len(inherited)+len(entries))
	for _, entry := range inherited {
		if !replaced[Name(entry)] {
			environment = append(environment, entry)
		}
	}
	return append(environment, entries...)
}

// Name returns the name of an entry.
func Name(entry string) string {
	name, _, _ := strings.Cut(entry, "=")
	return name
}
