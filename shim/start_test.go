package main

import (
	"reflect"
	"testing"
)

func TestCalledName(t *testing.T) {
	for argument, expected := range map[string]string{
		"sh": "sh", "-sh": "sh", "/run/dso/bin/sh": "sh", "-/bin/bash": "bash", "./env": "env",
		"": "", "-": "", "/": "", "dso-shim": shimName, "--": "-",
	} {
		if name := calledName([]string{argument, "x"}); name != expected {
			t.Errorf("%q: %q", argument, name)
		}
	}
	if name := calledName(nil); name != "" {
		t.Errorf("no arguments: %q", name)
	}
}

func TestCandidates(t *testing.T) {
	for _, example := range []struct {
		program     string
		environment []string
		expected    []string
	}{
		{"sh", []string{"PATH=/a:/b/"}, []string{"/a/sh", "/b//sh"}},
		{"sh", []string{"PATH=:/a:"}, []string{"./sh", "/a/sh", "./sh"}},
		{"sh", []string{"PATH="}, []string{"./sh"}},
		{"sh", []string{"MANPATH=/m"}, []string{
			"/usr/local/sbin/sh", "/usr/local/bin/sh", "/usr/sbin/sh", "/usr/bin/sh", "/sbin/sh", "/bin/sh",
		}},
		{"./sh", []string{"PATH=/a"}, []string{"./sh"}},
		{"/x/y", nil, []string{"/x/y"}},
		{"", []string{"PATH=/a"}, nil},
	} {
		if paths := candidates(example.program, example.environment); !reflect.DeepEqual(paths, example.expected) {
			t.Errorf("%+v: %q", example, paths)
		}
	}
}

func TestParent(t *testing.T) {
	for path, expected := range map[string]string{"/run/dso/bin/sh": "/run/dso/bin", "/sh": "", "sh": ""} {
		if directory := parent(path); directory != expected {
			t.Errorf("%q: %q", path, directory)
		}
	}
}

func TestLongestNamesTheVariable(t *testing.T) {
	if name, size := longest([]string{"A=1", "LONG=12345", "B="}); name != "LONG" || size != 10 {
		t.Errorf("%s, %d", name, size)
	}
}

func TestPrintableKeepsAMessageOnOneLine(t *testing.T) {
	if text := printable("a\nb\x1b[31m\x7fé"); text != "a?b?[31m?é" {
		t.Errorf("%q", text)
	}
}
