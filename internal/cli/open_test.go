package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
)

// awkward is the name of a folder that a shell would make much of.
const awkward = "-a b'c $(touch hacked);`touch hacked`"

// TestOpenPrints catches a printed command that a shell reads otherwise than it is meant: it is read by one, and must come back as the
// arguments that would have been used.
func TestOpenPrints(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	run := filepath.Join(dir, awkward)
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"report.html", "client.pcapng", "server.pcapng", "result.json"} {
		if err := os.WriteFile(filepath.Join(run, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "report.html")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want [][]string // nil: refused
	}{
		{"report", []string{"open", "--print", run}, [][]string{viewer(false, run+"/report.html")}},
		{"its result", []string{"open", "--print", run + "/result.json"}, [][]string{viewer(false, run+"/report.html")}},
		{"captures", []string{"open", "--print", "--wireshark", run}, [][]string{viewer(true, run+"/client.pcapng"), viewer(true, run+"/server.pcapng")}},
		{"one capture", []string{"open", "--print", "--wireshark", "--host=server", run}, [][]string{viewer(true, run+"/server.pcapng")}},
		{"no such host", []string{"open", "--print", "--host=router", run}, nil},
		{"no such run", []string{"open", "--print", "nowhere"}, nil},
		{"a device", []string{"open", "--print", dir}, nil},
	} {
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs}
		if code := a.main(tt.args); (code == explain.ExitUsage) != (tt.want == nil) {
			t.Errorf("%s: got exit code %d, %s", tt.name, code, errs.String())
		}
		var got [][]string
		for line := range strings.Lines(out.String()) {
			words, err := exec.Command("sh", "-c", "set -- "+strings.TrimSpace(line)+`; printf '%s\0' "$@"`).Output()
			if err != nil {
				t.Fatalf("%s: sh: %v", tt.name, err)
			}
			got = append(got, strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00"))
		}
		if !slices.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "hacked")); err == nil {
		t.Error("a name of a folder was run")
	}
}

// TestOpenStarts runs the program as a user with a display, and catches a file that is handed over through a shell or as an option, and
// a viewer's failure that nobody hears of.
func TestOpenStarts(t *testing.T) {
	dir := openFolder(t)
	run := filepath.Join(dir, awkward)
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{awkward + "/client.pcapng": "", awkward + "/report.html": "", "wireshark": "#!/bin/sh\nprintf '%s\\0' \"$@\" > seen.part && mv seen.part seen\n",
		"xdg-open": "#!/bin/sh\nexit 3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	start := func(args ...string) (string, int) {
		cmd := asNobody(t, dir, append([]string{"open"}, args...)...)
		cmd.Env = append(os.Environ(), "DISPLAY=:9", "PATH="+dir+":"+os.Getenv("PATH"))
		out, errs, code := runCommand(t, cmd)
		return out + errs, code
	}
	if said, code := start("--wireshark", "--host=client", run); said != "" || code != 0 {
		t.Errorf("wireshark: got %q and exit code %d, want nothing and 0", said, code)
	}
	await(t, "wireshark", 10*time.Millisecond, func() bool { _, err := os.Stat(filepath.Join(dir, "seen")); return err == nil }) // it is not waited for
	seen, err := os.ReadFile(filepath.Join(dir, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join(viewer(true, run+"/client.pcapng")[1:], "\x00") + "\x00"
	if string(seen) != want {
		t.Errorf("wireshark was started with %q, want %q", seen, want)
	}
	said, code := start(run)
	for range 5 { // on a busy machine it may take longer than settleIn to fail, and then counts as opened
		if code != 0 {
			break
		}
		said, code = start(run)
	}
	if code == 0 || !strings.Contains(said, "exit status 3") {
		t.Errorf("a viewer that fails: got %q and exit code %d, want its exit status", said, code)
	}
	// Without a display, the same is printed, and that is no failure.
	cmd := asNobody(t, dir, "open", run)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "DISPLAY=") || strings.HasPrefix(s, "WAYLAND_DISPLAY=")
	})
	if out, errs, code := runCommand(t, cmd); code != 0 || !strings.HasPrefix(out, "xdg-open ") || !strings.Contains(errs, "no display") {
		t.Errorf("without a display: got %q, %q and exit code %d", out, errs, code)
	}
}
