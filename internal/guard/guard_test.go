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
		{"a link in its place", []string{"elsewhere/keep", "a=elsewhere"}, []string{a, b}, []string{"a", "elsewhere/", "elsewhere/keep"}, true},
		{"another folder in its place", []string{"a/keep"}, []string{a, `{"op":"own","name":"a","is":{"dev":1,"ino":1}}`}, []string{"a/", "a/keep"}, true},
		{"another folder around it", []string{"a/"}, []string{`{"op":"try","out":"OUT","name":"a","is":{"dev":1,"ino":1}}`}, []string{"a/"}, true},
		{"a file in its place", []string{"a"}, []string{a}, []string{"a"}, true},
		{"a file in the place of a folder on the way", []string{"way"}, []string{`{"op":"made","out":"OUT","name":"way"}`}, []string{"way"}, true},
		{"a link in the place of a folder on the way", []string{"elsewhere/shadow", "elsewhere/empty/", "way=elsewhere"},
			[]string{`{"op":"made","out":"OUT","name":"way"}`, `{"op":"made","out":"OUT","name":"way/shadow"}`, `{"op":"made","out":"OUT","name":"way/empty"}`},
			[]string{"elsewhere/", "elsewhere/empty/", "elsewhere/shadow", "way"}, true},
		{"folders on the way", []string{"way/to/it/"}, []string{`{"op":"made","out":"OUT","name":"way"}`, `{"op":"made","out":"OUT","name":"way/to"}`, `{"op":"made","out":"OUT","name":"way/to/it"}`}, nil, true},
		{"a folder on the way", []string{"way/"}, []string{`{"op":"made","out":"OUT","name":"way"}`, `{"op":"try","out":"OUT/way","name":"a"}`}, nil, true},
		{"a folder for a while, on the way", []string{"way/a/boot/vmlinuz"}, []string{`{"op":"made","out":"OUT","name":"way"}`, `{"op":"try","out":"OUT/way","name":"a"}`, b}, nil, true},
		{"a folder on the way that others use", []string{"way/file"}, []string{`{"op":"made","out":"OUT","name":"way"}`}, []string{"way/", "way/file"}, true},
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

// Without a guard too there is a folder that is gone when it was needed, with all that is in it and nothing beside it; where it cannot be made, that is said.
func TestScratch(t *testing.T) {
	parent := t.TempDir()
	var none *Guard
	one, done, err := none.Scratch(parent, "x-")
	if err != nil {
		t.Fatal(err)
	}
	other, otherDone, err := none.Scratch(parent, "x-")
	if err != nil || other == one {
		t.Fatalf("got %s twice, %v, want two folders", one, err)
	}
	make1(t, one, "boot/vmlinuz")
	make1(t, other, "result.json")
	if err := done(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(other) {
		t.Errorf("got %v, %v, want the other one", left, err)
	}
	if err := otherDone(); err != nil {
		t.Error(err)
	}
	if _, _, err := none.Scratch(one, "x-"); err == nil {
		t.Error("in a folder that is gone: got nil, want an error")
	}
}

// The folders that are missing are listed in the order in which they are made; what is there is not.
func TestMade(t *testing.T) {
	dir := t.TempDir()
	var none *Guard
	a := filepath.Join(dir, "a")
	if got, want := none.Made(filepath.Join(a, "b", "..", "b", "c")), []string{a, filepath.Join(a, "b"), filepath.Join(a, "b", "c")}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := none.Made(dir); len(got) != 0 {
		t.Errorf("got %q, want none", got)
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
