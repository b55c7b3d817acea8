package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/vm"
)

// inboxOf is an inbox of two runs, with their folders below dir.
func inboxOf(dir string) *inbox {
	xs := three()
	b := &batch{app: &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}, flags: &runFlags{out: dir}, jobs: jobsOf(xs[0], xs[1]), results: make([]*result.Result, 2)}
	b.way = newWay(nil, dir)
	return &inbox{b: b, jobs: b.jobs, folders: map[int]*folder{}, began: map[int]time.Time{}}
}

// FuzzInbox lets a guest say anything, in any order: a line is a message, its name and, behind a space, its data; RESULT stands for a whole result. Nothing may
// be written outside of the runs' folders, no folder may stay that holds no whole result, each run has one result at most, and one that ended.
func FuzzInbox(f *testing.F) {
	f.Add("0/begin\n0/result RESULT\n0/file/events.ndjson {}\n0/end\n1/begin\n1/error {\"error\":\"no\",\"exit\":3}\n1/end")
	f.Add("0/begin\n0/begin\n0/result RESULT\n0/end\n0/end")
	f.Add("0/begin\n1/begin\n1/result RESULT\n0/end\n1/end")
	f.Add("1/begin\n1/result RESULT\n1/result RESULT\n1/end\n0/begin")
	f.Add("0/begin\n0/file/../../outside x\n0/file/result.json x\n0/capture x\n-1/begin\n00/end\n0/")
	whole, err := json.Marshal(&result.Result{Schema: result.Schema, Experiment: result.Experiment{Name: "a-short"}, Verdict: result.Pass})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said string) {
		top := t.TempDir()
		dir := filepath.Join(top, "runs")
		in := inboxOf(dir)
		begun, ended := map[string]bool{}, 0
		var failed error
		for line := range strings.SplitSeq(said, "\n") {
			name, data, _ := strings.Cut(line, " ")
			if failed = in.receive(vm.Message{Name: name, Data: []byte(strings.ReplaceAll(data, "RESULT", string(whole)))}); failed != nil {
				break // as vm.Run does
			}
			if number, what, _ := strings.Cut(name, "/"); what == sayBegin {
				if begun[number] {
					t.Errorf("%q: got run %s begun twice, want an error", said, number)
				}
				begun[number] = true
			} else if what == sayEnd {
				ended++
			}
		}
		if failed != nil {
			in.unmade(failed)
		}
		in.discard()
		_ = keepMade(in.b.way, nil)
		results := 0
		for _, r := range in.b.results {
			if r != nil {
				results++
			}
		}
		folders, _ := filepath.Glob(filepath.Join(dir, "2*")) // the pattern is sound
		if results > ended || len(folders) != results {
			t.Errorf("%q: got %d results of %d runs that ended, and folders %q, want one for each", said, results, ended, folders)
		}
		for _, name := range folders {
			if _, err := os.Stat(filepath.Join(name, "result.json")); err != nil {
				t.Errorf("%q: a folder that stays: %v", said, err)
			}
		}
		if all, err := os.ReadDir(top); err != nil || len(all) > 1 {
			t.Errorf("%q: got %v, %v, want the folder of the runs alone", said, all, err)
		}
	})
}
