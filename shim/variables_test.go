package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFileReadsFilesOfAnySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	for _, size := range []int{0, 1, 64*1024 - 1, 64 * 1024, 64*1024 + 1, 1_000_000} {
		written := strings.Repeat("x", size)
		if err := os.WriteFile(path, []byte(written), 0o444); err != nil {
			t.Fatal(err)
		}
		if content, err := readFile(path); err != nil || content != written {
			t.Errorf("%d bytes: %d bytes, %v", size, len(content), err)
		}
	}
}
