package variables

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseVariables(t *testing.T) {
	for content, expected := range map[string][]string{
		"":                             nil,
		"A=1\x00":                      {"A=1"},
		"A=\x00B=2\x00":                {"A=", "B=2"},
		"A=x=y=\x00":                   {"A=x=y="},
		"A=two\nlines\n\x00":           {"A=two\nlines\n"},
		"spring.password=\xff\x01\x00": {"spring.password=\xff\x01"},
	} {
		variables, problem := Parse(content)
		if problem != "" || !reflect.DeepEqual(variables, expected) {
			t.Errorf("%q: %q, %s", content, variables, problem)
		}
	}
}

func TestParseVariablesRefusesMalformedContentWithoutQuotingIt(t *testing.T) {
	for content, expected := range map[string]string{
		"A=1":                   "it ends within entry 1",
		"A=1\x00B=hunter2":      "it ends within entry 2",
		"A=1\x00\x00":           "entry 2 has no valid name",
		"hunter2\x00":           "entry 1 has no valid name",
		"=hunter2\x00":          "entry 1 has no valid name",
		"hun\nter2=1\x00":       "entry 1 has no valid name",
		"A=1\x00B=2\x00A=3\x00": "entry 3 repeats a name",
		"A=1\x00A=1\x00":        "entry 2 repeats a name",
		"\x00":                  "entry 1 has no valid name",
		"\xff\xfe=hunter2\x00":  "entry 1 has no valid name",
	} {
		if variables, problem := Parse(content); problem != expected || variables != nil {
			t.Errorf("%q: %q, %q", content, variables, problem)
		}
	}
}

func TestMergeReplacesVariablesOfTheSameName(t *testing.T) {
	merged := Merge([]string{"A=old", "AB=1", "odd", "PATH=/bin"}, []string{"A=new", "C="})
	if expected := []string{"AB=1", "odd", "PATH=/bin", "A=new", "C="}; !reflect.DeepEqual(merged, expected) {
		t.Errorf("%q", merged)
	}
}

func FuzzParseVariables(f *testing.F) {
	f.Add("A=1\x00B=2\x00")
	f.Fuzz(func(t *testing.T, content string) {
		variables, problem := Parse(content)
		if problem != "" {
			return
		}
		for _, entry := range variables {
			rest, found := strings.CutPrefix(content, entry+"\x00")
			if !found {
				t.Fatalf("%q is not where the file has it", entry)
			}
			content = rest
		}
		if content != "" {
			t.Errorf("%q is left out", content)
		}
	})
}
