package main

import (
	"encoding/json"
	"os"

	"keyferry/dso-shim/variables"
)

// object is a JSON object. What this program does not know stays as it is.
type object = map[string]json.RawMessage

// addToBundle returns config.json with the variables in the environment of its process.
func addToBundle(content []byte, entries []string) ([]byte, *fault) {
	var bundle object
	if err := json.Unmarshal(content, &bundle); err != nil || bundle == nil {
		return nil, malformed("config.json")
	}
	process, fault := addToProcess(bundle["process"], entries)
	if fault != nil {
		return nil, fault
	}
	bundle["process"] = process
	return toJSON(bundle)
}

// addToFile returns the process in a file with the variables.
func addToFile(file string, entries []string) ([]byte, *fault) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, &fault{"the process cannot be read: " + err.Error(), "see the log of the engine"}
	}
	return addToProcess(content, entries)
}

// addToProcess returns a process of the OCI runtime specification with the variables.
func addToProcess(content []byte, entries []string) ([]byte, *fault) {
	var process object
	if err := json.Unmarshal(content, &process); err != nil || process == nil {
		return nil, malformed("the process")
	}
	var inherited []string
	if env, found := process["env"]; found {
		if err := json.Unmarshal(env, &inherited); err != nil {
			return nil, malformed("the environment of the process")
		}
	}
	env, fault := toJSON(variables.Merge(inherited, entries))
	if fault != nil {
		return nil, fault
	}
	process["env"] = env
	return toJSON(process)
}

func toJSON(value any) ([]byte, *fault) {
	content, err := json.Marshal(value)
	if err != nil {
		return nil, malformed("the configuration")
	}
	return content, nil
}
