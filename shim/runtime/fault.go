package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// fault is why this program does not call runc. It never holds a value.
type fault struct {
	cause  string
	remedy string
}

// report writes the fault where runc writes its own, so that the engine shows it, and returns the
// exit code of a failure of runc.
func (f *fault) report(call call) int {
	message := "dso-runtime: " + f.cause + "; " + f.remedy
	line := fmt.Sprintf("level=error msg=%q\n", message)
	if call.logFormat == "json" {
		entry, _ := json.Marshal(map[string]string{
			"level": "error", "msg": message, "time": time.Now().Format(time.RFC3339),
		})
		line = string(entry) + "\n"
	}
	if call.log != "" {
		if log, err := os.OpenFile(call.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			log.WriteString(line)
			log.Close()
		}
	}
	os.Stderr.WriteString(message + "\n")
	return 1
}
