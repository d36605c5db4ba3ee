package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestWithoutShadow(t *testing.T) {
	root := t.TempDir()
	shadow := root + "/bin"
	if err := os.Mkdir(shadow, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shadow, root+"/alias"); err != nil {
		t.Fatal(err)
	}
	own, err := identify(shadow)
	if err != nil {
		t.Fatal(err)
	}
	for path, expected := range map[string][]string{
		shadow + ":/usr/bin": {"PATH=/usr/bin"},
		"/usr/bin:" + shadow: {"PATH=/usr/bin"},
		shadow + "/:/a:" + shadow + "//:/b:" + root + "/./bin": {"PATH=/a:/b"},
		root + "/alias:/a":          {"PATH=/a"},
		shadow + "2:/missing:/a":    {"PATH=" + shadow + "2:/missing:/a"},
		shadow + "::/a":             {"PATH=:/a"},
		shadow + ":":                {"PATH="},
		shadow:                      {},
		shadow + ":" + shadow + "/": {},
		"":                          {"PATH="},
	} {
		environment := withoutShadow([]string{"PATH=" + path, "MANPATH=" + shadow}, own)
		if expected = append(expected, "MANPATH="+shadow); !reflect.DeepEqual(environment, expected) {
			t.Errorf("%q: %q", path, environment)
		}
	}
}

func TestWithoutShadowWhereTheWorkingDirectoryIsTheShadow(t *testing.T) {
	shadow := t.TempDir()
	t.Chdir(shadow)
	own, err := identify(shadow)
	if err != nil {
		t.Fatal(err)
	}
	relative := "../" + filepath.Base(shadow)
	environment := withoutShadow([]string{"PATH=:/a:.:" + relative}, own)
	if expected := []string{"PATH=/a"}; !reflect.DeepEqual(environment, expected) {
		t.Errorf("%q", environment)
	}
}
