package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

func TestSplit(t *testing.T) {
	set, data := split("mode=0700,nosuid,nodev,noswap")
	if set != syscall.MS_NOSUID|syscall.MS_NODEV || data != "mode=0700,noswap" {
		t.Errorf("%x, %q", set, data)
	}
}

func TestOtherCommandLinesAreRefused(t *testing.T) {
	for _, arguments := range [][]string{
		nil,
		{"-t", "tmpfs"},
		{"-t", "ext4", "-o", "ro", "a", "b"},
		{"-a", "tmpfs", "-o", "ro", "a", "b"},
	} {
		if run(arguments) != 1 {
			t.Errorf("%q is not refused", arguments)
		}
	}
}

// In a mount namespace of its own, so nothing of the machine changes.
func TestMountsATmpfs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	// The thread with the namespace must not serve another goroutine: it ends with this one.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_FS); err != nil {
		t.Skip("cannot make a mount namespace: ", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if code := run([]string{"-t", "tmpfs", "-o", "mode=0700,nosuid,nodev", "dso", directory}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	defer syscall.Unmount(directory, syscall.MNT_DETACH)
	var status syscall.Statfs_t
	if err := syscall.Statfs(directory, &status); err != nil || status.Type != 0x01021994 {
		t.Errorf("type %x, %v", status.Type, err)
	}
	info, _ := os.Stat(directory)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if code := run([]string{"-t", "tmpfs", "-o", "nonsense=1", "dso", directory}); code != 32 {
		t.Errorf("nonsense: exit code %d", code)
	}
}
