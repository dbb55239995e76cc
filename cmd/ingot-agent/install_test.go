package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/providers/install/writer"
)

// What the verb is told on its standard input it refuses in a form that the other
// end understands, and touches nothing. How it writes disks is shown in package
// install, and how it replaces a running system in a machine, by the assay.
func TestInstallRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the agent; run without -short")
	}
	t.Parallel()
	agent := filepath.Join(t.TempDir(), "ingot-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", agent, "ingot/cmd/ingot-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("x"), 1<<20)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		job  writer.Job
		want string
	}{
		"no disk":         {writer.Job{Version: writer.Version, Disk: file, ImageBytes: 512, PackedBytes: 1, Ending: writer.Restart}, "is no disk"},
		"no disk, staged": {writer.Job{Version: writer.Version, Disk: file, ImageBytes: 512, PackedBytes: 1, Ending: writer.Restart, Staged: true}, "is no disk"},
		"absent":          {writer.Job{Version: writer.Version, Disk: "/dev/absent", ImageBytes: 512, PackedBytes: 1, Ending: writer.Restart}, "no such file"},
		"another version": {writer.Job{Version: writer.Version + 1, Disk: file, ImageBytes: 512, PackedBytes: 1, Ending: writer.Restart}, "use those of one build"},
	} {
		t.Run(name, func(t *testing.T) {
			var in bytes.Buffer
			if err := writer.SendJSON(&in, writer.KindJob, c.job); err != nil {
				t.Fatal(err)
			}
			refuses(t, agent, in.Bytes(), c.want)
		})
	}
	refuses(t, agent, nil, "the connection ended too early")
	refuses(t, agent, []byte("GET / HTTP/1.1\r\n\r\n"), "a message of")
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, content) {
		t.Errorf("the file was written to, %v", err)
	}
}

func refuses(t *testing.T, agent string, in []byte, want string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), agent, "install")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("it ends with %v", err)
	}
	var e writer.Event
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	if e.Step != writer.Failed || e.Touched || !strings.Contains(e.Error, want) {
		t.Errorf("%+v; want %q", e, want)
	}
}
