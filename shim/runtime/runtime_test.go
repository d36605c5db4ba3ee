package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The tests start their own program as dso-runtime, because it can become runc.
func TestMain(m *testing.M) {
	if os.Getenv("AS_RUNTIME") == "1" {
		os.Exit(run(os.Args[1:], os.Environ()))
	}
	os.Exit(m.Run())
}

// host has a bundle, runc's state of its container, a volume of variables, and a runc that copies
// the configuration which it reads to the file `read`, and its arguments to the file `arguments`.
type host struct {
	t      *testing.T
	folder string
}

const fakeRunc = `#!/bin/sh
printf '%s\n' "$@" > "$FOLDER/arguments"
bundle=; process=
for argument; do
	case $before in --bundle) bundle=$argument ;; --process) process=$argument ;; esac
	before=$argument
done
[ -z "$bundle" ] || cat "$bundle/config.json" > "$FOLDER/read"
[ -z "$process" ] || cat "$process" > "$FOLDER/read"
ls -l /proc/$$/fd > "$FOLDER/descriptors"
echo 'runc was here' >&2
exit 7
`

func newHost(t *testing.T, mount string) host {
	h := host{t, t.TempDir()}
	for _, folder := range []string{"bin", "bundle", "volume", "root/id"} {
		if err := os.MkdirAll(h.at(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write("bin/runc", fakeRunc, 0o755)
	h.write("volume/env", "KEY=a \"quoted\" value\x00IMAGE=ours\x00", 0o444)
	h.write("bundle/config.json", `{"ociVersion":"1.0","process":{"args":["app"],"env":["PATH=/bin","IMAGE=default"],`+
		`"big":12345678901234567890},"mounts":[{"destination":"/proc"},`+strings.ReplaceAll(mount, "VOLUME", h.at("volume"))+`]}`, 0o600)
	h.write("process.json", `{"args":["printenv"],"env":["PATH=/bin"],"cwd":"/"}`, 0o600)
	h.write("root/id/state.json", `{"id":"id","config":{"labels":["x=y","bundle=`+h.at("bundle")+`"],"mounts":[`+
		strings.ReplaceAll(mount, "VOLUME", h.at("volume"))+`]}}`, 0o600)
	return h
}

const ours = `{"destination":"/run/dso","type":"bind","source":"VOLUME","options":["rbind","ro","rprivate"]}`

func (h host) at(path string) string { return filepath.Join(h.folder, path) }

func (h host) write(path, text string, mode os.FileMode) {
	os.Remove(h.at(path))
	if err := os.WriteFile(h.at(path), []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) read(path string) string {
	content, err := os.ReadFile(h.at(path))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

// call calls dso-runtime as the engine does, and returns its exit code and what it prints.
func (h host) call(arguments ...string) (int, string) {
	global := []string{"--root", h.at("root"), "--log", h.at("log.json"), "--log-format", "json"}
	command := exec.Command(os.Args[0], append(global, arguments...)...)
	command.Env = []string{"AS_RUNTIME=1", "FOLDER=" + h.folder, "PATH=" + h.at("bin") + ":/usr/bin:/bin"}
	var printed bytes.Buffer
	command.Stderr = &printed
	command.Run()
	return command.ProcessState.ExitCode(), printed.String()
}

func (h host) create() (int, string) {
	return h.call("create", "--bundle", h.at("bundle"), "--pid-file", h.at("pid"), "id")
}

func (h host) exec() (int, string) {
	return h.call("exec", "--process", h.at("process.json"), "--detach", "--pid-file", h.at("pid"), "id")
}

// environmentRead is the environment that runc has read.
func (h host) environmentRead() []string {
	type process struct{ Env []string }
	var read struct {
		process
		Process process
	}
	if err := json.Unmarshal([]byte(h.read("read")), &read); err != nil {
		h.t.Fatal(err)
	}
	return append(read.Env, read.Process.Env...)
}

func TestCreateAddsTheVariables(t *testing.T) {
	h := newHost(t, ours)
	before := h.read("bundle/config.json")
	if code, printed := h.create(); code != 7 || printed != "runc was here\n" {
		t.Errorf("exit code and messages are not those of runc: %d, %s", code, printed)
	}
	if env := h.environmentRead(); !reflect.DeepEqual(env, []string{"PATH=/bin", `KEY=a "quoted" value`, "IMAGE=ours"}) {
		t.Errorf("%q", env)
	}
	if read := h.read("read"); !strings.Contains(read, `"big":12345678901234567890`) || !strings.Contains(read, `"ociVersion":"1.0"`) {
		t.Errorf("the rest has changed: %s", read)
	}
	if after := h.read("bundle/config.json"); after != before {
		t.Errorf("the bundle is not as it was: %s", after)
	}
	if left, _ := os.ReadDir(h.at("bundle")); len(left) != 1 {
		t.Errorf("the bundle has other files: %v", left)
	}
	if strings.Contains(h.read("descriptors"), "memfd") {
		t.Error("runc has inherited the memory with the values")
	}
}

func TestExecAddsTheVariablesOfThisMoment(t *testing.T) {
	h := newHost(t, ours)
	before := h.read("process.json")
	h.write("volume/env", "KEY=new\x00", 0o444)
	if code, printed := h.exec(); code != 7 || printed != "runc was here\n" {
		t.Errorf("exit code and messages are not those of runc: %d, %s", code, printed)
	}
	if env := h.environmentRead(); !reflect.DeepEqual(env, []string{"PATH=/bin", "KEY=new"}) {
		t.Errorf("%q", env)
	}
	if h.read("process.json") != before {
		t.Error("the file of the process has changed")
	}
	if strings.Contains(h.read("descriptors"), "memfd") {
		t.Error("runc has inherited the memory with the values")
	}
}

func TestOtherContainersAndCallsGoToRuncAsTheyAre(t *testing.T) {
	for name, mount := range map[string]string{
		"no volume":       `{"destination":"/data","source":"VOLUME","options":["ro"]}`,
		"a similar path":  `{"destination":"/run/dso2","source":"VOLUME","options":["ro"]}`,
		"can be written":  `{"destination":"/run/dso","source":"VOLUME","options":["rbind","rw"]}`,
		"without options": `{"destination":"/run/dso","source":"VOLUME"}`,
	} {
		h := newHost(t, mount)
		for _, call := range []func() (int, string){h.create, h.exec} {
			if code, printed := call(); code != 7 || printed != "runc was here\n" {
				t.Errorf("%s: %d, %s", name, code, printed)
			}
			if env := h.environmentRead(); slicesContainPrefix(env, "KEY=") {
				t.Errorf("%s: %q", name, env)
			}
		}
	}
	h := newHost(t, ours)
	for _, command := range []string{"start", "kill", "delete", "state", "pause", "update", "features"} {
		if code, _ := h.call(command, "id"); code != 7 || !strings.HasSuffix(h.read("arguments"), command+"\nid\n") {
			t.Errorf("%s: %d, %s", command, code, h.read("arguments"))
		}
	}
	// A container that is not there: runc says so.
	if code, _ := h.call("exec", "--process", h.at("process.json"), "other"); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

func slicesContainPrefix(entries []string, prefix string) bool {
	return strings.Contains("\n"+strings.Join(entries, "\n"), "\n"+prefix)
}

func TestVariablesThatCannotBeRead(t *testing.T) {
	for expected, change := range map[string]func(h host){
		"no such file":                    func(h host) { os.Remove(h.at("volume/env")) },
		"ends within entry 1":             func(h host) { h.write("volume/env", "KEY=hunter2", 0o444) },
		"too many levels":                 func(h host) { os.Remove(h.at("volume/env")); os.Symlink("/etc/passwd", h.at("volume/env")) },
		"env is malformed; start":         func(h host) { os.Remove(h.at("volume/env")); os.Mkdir(h.at("volume/env"), 0o755) },
		"config.json is malformed; start": func(h host) { h.write("bundle/config.json", `{"dso"`, 0o600) },
	} {
		h := newHost(t, ours)
		change(h)
		for _, call := range []func() (int, string){h.create, h.exec} {
			os.Remove(h.at("log.json"))
			code, printed := call()
			if code != 1 || !strings.Contains(printed, expected) || strings.Contains(printed, "hunter2") {
				t.Errorf("%s: %d, %s", expected, code, printed)
			}
			var line struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(h.read("log.json")), &line); err != nil || line.Level != "error" || line.Msg+"\n" != printed {
				t.Errorf("the engine does not see it: %s", h.read("log.json"))
			}
			if _, err := os.Stat(h.at("arguments")); err == nil {
				t.Error("runc was called")
			}
		}
	}
}

func TestParseReadsTheCommandLinesOfEngines(t *testing.T) {
	for line, expected := range map[string]call{
		"--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /c ID": {
			root: "/r", log: "/l", logFormat: "json", command: "create", bundle: "/b", id: "ID"},
		"--root=/r --systemd-cgroup create -b /b --no-pivot ID": {
			root: "/r", logFormat: "text", command: "create", bundle: "/b", id: "ID"},
		"--debug --root /r exec --tty --process /f --detach ID": {
			root: "/r", logFormat: "text", command: "exec", bundle: ".", process: 6, id: "ID"},
		"exec --process=/f ID": {root: "/run/runc", logFormat: "text", command: "exec", bundle: ".", process: 1, id: "ID"},
		"--version":            {root: "/run/runc", logFormat: "text", bundle: ".", id: "--version"},
		"":                     {root: "/run/runc", logFormat: "text", bundle: ".", id: ""},
		"kill ID 9":            {root: "/run/runc", logFormat: "text", command: "kill", bundle: ".", id: "9"},
	} {
		arguments := strings.Split(line, " ")
		expected.arguments = arguments
		if read := parse(arguments); !reflect.DeepEqual(read, expected) {
			t.Errorf("%s: %+v", line, read)
		}
	}
}

func TestTheFileOfAProcessIsReplacedInBothSpellings(t *testing.T) {
	for line, expected := range map[string]string{
		"exec --process /f ID": "exec --process /new ID",
		"exec --process=/f ID": "exec --process=/new ID",
		"exec -p /f ID":        "exec -p /new ID",
	} {
		read := parse(strings.Split(line, " "))
		if file := read.processFile(); file != "/f" {
			t.Errorf("%s: %s", line, file)
		}
		if changed := strings.Join(read.withProcess("/new"), " "); changed != expected {
			t.Errorf("%s: %s", line, changed)
		}
	}
}

func TestAProcessWithoutAnEnvironmentGetsOne(t *testing.T) {
	changed, fault := addToProcess([]byte(`{"args":["a"]}`), []string{"A=<1>"})
	if fault != nil || string(changed) != `{"args":["a"],"env":["A=\u003c1\u003e"]}` {
		t.Errorf("%s, %v", changed, fault)
	}
	for _, content := range []string{"", "null", "[]", `{"env":{}}`} {
		if _, fault := addToProcess([]byte(content), nil); fault == nil {
			t.Errorf("%s is not refused", content)
		}
	}
}
