package cli

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tcplab/tcplab/experiments"
)

// TestFindShard catches a scheduler that is read with the wrong origin, a flag that does not win, and variables that contradict each other.
func TestFindShard(t *testing.T) {
	for _, c := range []struct {
		name, flag string
		given      bool
		env        string
		want       shard
		bad        string
	}{
		{name: "nothing", want: shard{1, 1, ""}},
		{name: "flag", flag: "2/5", given: true, want: shard{2, 5, "--shard"}},
		{name: "flag wins", flag: "none", given: true, env: "TCPLAB_SHARD=2/5 CI_NODE_INDEX=1 CI_NODE_TOTAL=3", want: shard{1, 1, "--shard"}},
		{name: "own variable wins", env: "TCPLAB_SHARD=2/5 CI_NODE_INDEX=1 CI_NODE_TOTAL=3", want: shard{2, 5, "TCPLAB_SHARD"}},
		{name: "kubernetes", env: "JOB_COMPLETION_INDEX=0 TCPLAB_SHARD_COUNT=4", want: shard{1, 4, "JOB_COMPLETION_INDEX and TCPLAB_SHARD_COUNT"}},
		{name: "kubernetes without the count", env: "JOB_COMPLETION_INDEX=3", want: shard{1, 1, ""}},
		{name: "slurm", env: "SLURM_ARRAY_TASK_ID=14 SLURM_ARRAY_TASK_MIN=10 SLURM_ARRAY_TASK_MAX=16 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=2", want: shard{3, 4, "Slurm's array"}},
		{name: "slurm with gaps", env: "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=7 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_STEP=1", bad: "without gaps"},
		{name: "slurm without the count", env: "SLURM_ARRAY_TASK_ID=7", bad: "SLURM_ARRAY_TASK_MIN"},
		{name: "slurm, one task again", env: "SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MIN=2 SLURM_ARRAY_TASK_MAX=2 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_STEP=1", want: shard{1, 1, "Slurm's array"}},
		{name: "slurm from 0", env: "SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=2 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_STEP=1", want: shard{1, 3, "Slurm's array"}},
		{name: "slurm, last step not whole", env: "SLURM_ARRAY_TASK_ID=9 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_STEP=4", want: shard{3, 3, "Slurm's array"}},
		{name: "gitlab", env: "CI_NODE_INDEX=3 CI_NODE_TOTAL=3", want: shard{3, 3, "CI_NODE_INDEX and CI_NODE_TOTAL"}},
		{name: "gitlab, not parallel", env: "CI_NODE_TOTAL=1", want: shard{1, 1, ""}},
		{name: "two that differ", env: "CI_NODE_INDEX=1 CI_NODE_TOTAL=3 JOB_COMPLETION_INDEX=1 TCPLAB_SHARD_COUNT=3", bad: "say which with --shard"},
		{name: "beyond", flag: "6/5", given: true, bad: "got part 6 of 5"},
		{name: "zero", flag: "0/5", given: true, bad: "got part 0 of 5"},
		{name: "no fraction", flag: "2", given: true, bad: "want I/N"},
		{name: "empty", flag: "", given: true, bad: "want I/N"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := map[string]string{}
			for _, kv := range strings.Fields(c.env) {
				k, v, _ := strings.Cut(kv, "=")
				env[k] = v
			}
			got, err := findShard(c.flag, c.given, func(k string) string { return env[k] })
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Fatalf("got %+v, %v, want an error with %q", got, err, c.bad)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// TestTake holds for every list and count: each run is in exactly one part, the parts are the list, and none has more than one run, or one
// repeat of an experiment, more than another.
func TestTake(t *testing.T) {
	xs := experiments.All()
	for _, repeat := range []int{1, 2, 7} {
		var jobs []job
		for _, x := range xs {
			for range repeat {
				jobs = append(jobs, job{x: x, n: len(jobs) + 1})
			}
		}
		for count := 1; count <= len(jobs)+2; count++ {
			var seen []int
			least, most := len(jobs), 0
			of := map[string][]int{}
			for index := 1; index <= count; index++ {
				part := shard{index: index, count: count}.take(jobs)
				least, most = min(least, len(part)), max(most, len(part))
				counts := map[string]int{}
				for _, j := range part {
					seen = append(seen, j.n)
					counts[j.x.Name]++
				}
				for _, x := range xs {
					of[x.Name] = append(of[x.Name], counts[x.Name])
				}
			}
			if missing, doubled := holes(len(jobs), seen); len(missing)+len(doubled) > 0 || len(seen) != len(jobs) {
				t.Fatalf("%d runs in %d parts: missing %v, doubled %v", len(jobs), count, missing, doubled)
			}
			if most-least > 1 {
				t.Errorf("%d runs in %d parts: %d to %d runs each", len(jobs), count, least, most)
			}
			for name, c := range of {
				if slices.Max(c)-slices.Min(c) > 1 {
					t.Errorf("%d runs in %d parts: %s has %v", len(jobs), count, name, c)
				}
			}
		}
	}
}

// ciJob is what the test below needs of a job of GitHub's or GitLab's.
type ciJob struct {
	Strategy struct{ Matrix struct{ Shard []int } }
	Env      map[string]string
	Steps    []struct{ Run string }
	Parallel int
	Script   []string
}

// TestDocumentedWorkflows catches a workflow of docs/sharding.md whose jobs would not be the parts of one list, or whose commands do not exist. GitHub fills
// in its expressions, GitLab its variables; so does this test.
func TestDocumentedWorkflows(t *testing.T) {
	text, err := os.ReadFile("../../docs/sharding.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("got %d workflows, want GitHub's and GitLab's", len(blocks))
	}
	var github struct{ Jobs map[string]ciJob }
	var gitlab map[string]ciJob
	for i, to := range []any{&github, &gitlab} {
		if err := yaml.Unmarshal(blocks[i][1], to); err != nil {
			t.Fatal(err)
		}
	}
	part := github.Jobs["part"]
	total := len(part.Strategy.Matrix.Shard)
	for i, n := range part.Strategy.Matrix.Shard {
		fill := strings.NewReplacer("${{ matrix.shard }}", fmt.Sprint(n), "${{ strategy.job-total }}", fmt.Sprint(total))
		s, err := findShard("", false, func(name string) string { return fill.Replace(part.Env[name]) })
		if err != nil || s.index != i+1 || s.count != 3 {
			t.Errorf("GitHub's job %d: got part %d/%d, %v, want %d/3", i+1, s.index, s.count, err, i+1)
		}
	}
	for i := 1; i <= gitlab["part"].Parallel; i++ {
		env := map[string]string{"CI_NODE_INDEX": fmt.Sprint(i), "CI_NODE_TOTAL": fmt.Sprint(gitlab["part"].Parallel)}
		if s, err := findShard("", false, func(name string) string { return env[name] }); err != nil || s.index != i || s.count != 3 {
			t.Errorf("GitLab's job %d: got part %d/%d, %v, want %d/3", i, s.index, s.count, err, i)
		}
	}
	var lines []string
	for _, j := range []ciJob{part, github.Jobs["report"], gitlab["part"], gitlab["report"]} {
		lines = append(lines, j.Script...)
		for _, s := range j.Steps {
			lines = append(lines, s.Run)
		}
	}
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	if len(lines) != 4 {
		t.Errorf("got %d commands, want 4: %q", len(lines), lines)
	}
	for _, line := range lines {
		words := strings.Fields(strings.ReplaceAll(line, "${{ matrix.shard }}", "1"))
		cmd, rest, err := Root().Find(words[1:])
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || words[0] != "tcplab" || cmd.Name() != words[1] {
			t.Errorf("%s: %v", line, err)
		}
	}
}
