package guard

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A program that ends at any line must leave no folder but whole ones, and nothing that it did not make. Catches a guard that removes a
// result, another run's folder, or what is behind a link; and one that leaves half a result.
func TestWatch(t *testing.T) {
	const a, b = `{"op":"try","out":"OUT","name":"a"}`, `{"op":"own","name":"a"}`
	for _, tt := range []struct {
		name  string
		files []string // in OUT: with / at the end a folder, with = a link
		lines []string
		left  []string
		swept bool
	}{
		{"before the folder is made", nil, []string{a}, nil, true},
		{"just when it is made", []string{"a/"}, []string{a}, nil, true},
		{"another run has the name", []string{"a/result.json"}, []string{a}, []string{"a/", "a/result.json"}, true},
		{"during the run", []string{"a/events.ndjson"}, []string{a, b}, nil, true},
		{"while files are written", []string{"a/events.ndjson", "a/client.pcapng", "a/result.json.part"}, []string{a, b}, nil, true},
		{"while pictures are drawn", []string{"a/result.json", "a/report.html.part"}, []string{a, b}, []string{"a/", "a/result.json"}, true},
		{"while latest is made", []string{"a/result.json", ".latest-a=a"}, []string{a, b}, []string{"a/", "a/result.json"}, true},
		{"after it is whole", []string{"a/x.part"}, []string{a, b, `{"op":"done","name":"a"}`}, []string{"a/", "a/x.part"}, true},
		{"in the middle of a line", []string{"a/events.ndjson"}, []string{a, b, `{"op":"do`}, nil, true},
		{"after everything", []string{"a/events.ndjson"}, []string{a, b, `{"op":"bye"}`}, []string{"a/", "a/events.ndjson"}, false},
		{"a link in its place", []string{"elsewhere/keep", "a=elsewhere"}, []string{a, b}, []string{"elsewhere/", "elsewhere/keep"}, true},
		{"a folder on the way", []string{"way/"}, []string{`{"op":"made","out":"OUT/way"}`, `{"op":"try","out":"OUT/way","name":"a"}`}, nil, true},
		{"a folder on the way that others use", []string{"way/file"}, []string{`{"op":"made","out":"OUT/way"}`}, []string{"way/", "way/file"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := t.TempDir()
			for _, f := range tt.files {
				make1(t, out, f)
			}
			swept := false
			watch(strings.NewReader(strings.ReplaceAll(strings.Join(tt.lines, "\n"), "OUT", out)), func() { swept = true })
			var left []string
			err := filepath.WalkDir(out, func(path string, d os.DirEntry, err error) error {
				if rel, _ := filepath.Rel(out, path); rel != "." {
					if d.IsDir() {
						rel += "/"
					}
					left = append(left, rel)
				}
				return err
			})
			if err != nil || !slices.Equal(left, tt.left) || swept != tt.swept {
				t.Errorf("got %q left, %v, programs swept: %t, want %q and %t", left, err, swept, tt.left, tt.swept)
			}
		})
	}
}

func make1(t *testing.T, out, f string) {
	t.Helper()
	var err error
	name, to, link := strings.Cut(f, "=")
	switch path := filepath.Join(out, name); {
	case link:
		err = os.Symlink(to, path)
	case strings.HasSuffix(f, "/"):
		err = os.MkdirAll(path, 0o755)
	default:
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, nil, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What a guard is told comes through a pipe that only tcplab writes, and it must hold out against anything all the same: no line leads it
// out of the folder.
func FuzzWatch(f *testing.F) {
	f.Add(`{"op":"try","out":"OUT","name":"a"}` + "\n" + `{"op":"own","name":"a"}`)
	f.Add(`{"op":"try","out":"OUT","name":"../outside"}` + "\n" + `{"op":"own","name":"../outside"}`)
	f.Add(`{"op":"try","out":"OUT","name":".."}` + "\n" + `{"op":"own","name":".."}` + "\n" + `{"op":"do`)
	f.Fuzz(func(t *testing.T, lines string) {
		top := t.TempDir()
		out := filepath.Join(top, "out")
		make1(t, top, "out/")
		make1(t, top, "outside/file")
		lines = strings.ReplaceAll(lines, "OUT", out)
		for line := range strings.SplitSeq(lines, "\n") {
			var m message
			if json.Unmarshal([]byte(strings.TrimSuffix(line, "\r")), &m) == nil && m.Out != "" && m.Out != out {
				return // a folder of the machine, which is for tcplab to name
			}
		}
		watch(strings.NewReader(lines), func() {})
		if _, err := os.Stat(filepath.Join(top, "outside", "file")); err != nil {
			t.Errorf("outside of the folder: %v", err)
		}
	})
}
