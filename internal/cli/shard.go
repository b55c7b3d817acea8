package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// shard is a part of a list of runs: the one with this index, from 1, of so many.
type shard struct {
	index, count int
	from         string // who said so: "--shard", or the variables of a scheduler
}

// mostShards bounds the number of parts.
const mostShards = 10000

// TCPLAB_SHARD is for what has no variables of its own, such as a matrix of GitHub's; the count that goes with a Kubernetes Indexed Job's
// index is completions, which Kubernetes does not pass on by itself.
const (
	shardVariable = "TCPLAB_SHARD"
	countVariable = "TCPLAB_SHARD_COUNT"
	slurmArray    = "Slurm's array"
)

// shardFlag adds --shard.
func shardFlag(cmd *cobra.Command, shard *string, what string) {
	cmd.Flags().StringVar(shard, "shard", "", "make part I of N of the "+what+": 2/5; none: all (default: as TCPLAB_SHARD, an Indexed Job, a Slurm array or GitLab's parallel says)")
}

var fraction = regexp.MustCompile(`^([0-9]{1,5})/([0-9]{1,5})$`)

// parseShard reads "2/5". none and 1/1 are the whole list.
func parseShard(text, from string) (shard, error) {
	whole := shard{1, 1, from}
	if text == "none" {
		return whole, nil
	}
	m := fraction.FindStringSubmatch(text)
	if m == nil {
		return whole, usage(explain.ValueOutOfRange, fmt.Errorf("%s=%s: want I/N, such as 2/5 for the second of five parts, or none", from, text))
	}
	index, _ := strconv.Atoi(m[1])
	count, _ := strconv.Atoi(m[2])
	return checkShard(index, count, from)
}

func checkShard(index, count int, from string) (shard, error) {
	if count < 1 || count > mostShards || index < 1 || index > count {
		return shard{}, usage(explain.ValueOutOfRange, fmt.Errorf("%s: got part %d of %d, want 1/N to N/N with N from 1 to %d", from, index, count, mostShards))
	}
	return shard{index, count, from}, nil
}

// findShard decides which part this process is: by the flag, by TCPLAB_SHARD, or by the variables of one scheduler. Two schedulers that say
// different things (a job of GitLab's in a Slurm array) are an error, because nobody can know which was meant.
func findShard(flag string, given bool, getenv func(string) string) (shard, error) {
	if given {
		return parseShard(flag, "--shard")
	}
	if v := getenv(shardVariable); v != "" {
		return parseShard(v, shardVariable)
	}
	var found []shard
	for _, scheduler := range []func(func(string) string) (*shard, error){kubernetes, slurm, gitlab} {
		s, err := scheduler(getenv)
		if err != nil {
			return shard{}, err
		}
		if s != nil {
			found = append(found, *s)
		}
	}
	if len(found) == 0 {
		return shard{1, 1, ""}, nil
	}
	for _, s := range found[1:] {
		if s.index != found[0].index || s.count != found[0].count {
			return shard{}, usage(explain.ValueOutOfRange, fmt.Errorf("%s says part %d/%d and %s says %d/%d; say which with --shard=I/N, or --shard=none for all",
				found[0].from, found[0].index, found[0].count, s.from, s.index, s.count))
		}
	}
	return found[0], nil
}

// numbers reads whole numbers from variables that belong together.
func numbers(getenv func(string) string, names ...string) ([]int, error) {
	out := make([]int, len(names))
	for i, name := range names {
		n, err := strconv.Atoi(getenv(name))
		if err != nil {
			return nil, usage(explain.ValueOutOfRange, fmt.Errorf("%s is set and %s=%q: want a whole number; --shard=I/N says it otherwise, and --shard=none runs all",
				names[0], name, getenv(name)))
		}
		out[i] = n
	}
	return out, nil
}

// kubernetes reads an Indexed Job's index, which begins at 0. Without the count it is not known what part that is: a Job may have an index for
// other reasons, and then all is run.
func kubernetes(getenv func(string) string) (*shard, error) {
	if getenv("JOB_COMPLETION_INDEX") == "" || getenv(countVariable) == "" {
		return nil, nil
	}
	n, err := numbers(getenv, "JOB_COMPLETION_INDEX", countVariable)
	if err != nil {
		return nil, err
	}
	s, err := checkShard(n[0]+1, n[1], "JOB_COMPLETION_INDEX and "+countVariable)
	return &s, err
}

// slurm reads an array's task. A list with gaps (--array=1,2,7) has no step that leads from task to task, and is refused. Its one trap: of an
// array of which one task is submitted again (--array=2) Slurm tells that task 2 alone, and not how many there were. That is part 1 of 1 here,
// and part of a says so.
func slurm(getenv func(string) string) (*shard, error) {
	const id = "SLURM_ARRAY_TASK_ID"
	if getenv(id) == "" {
		return nil, nil
	}
	n, err := numbers(getenv, id, "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_STEP")
	if err != nil {
		return nil, err
	}
	task, first, last, count, step := n[0], n[1], n[2], n[3], n[4]
	if step < 1 || (last-first)/max(step, 1)+1 != count || (task-first)%step != 0 {
		return nil, usage(explain.ValueOutOfRange, fmt.Errorf("%s=%d: want an array without gaps, such as --array=1-%d, found %d tasks from %d to %d in steps of %d; --shard=I/N says it otherwise",
			id, task, max(count, 1), count, first, last, step))
	}
	s, err := checkShard((task-first)/step+1, count, slurmArray)
	return &s, err
}

func gitlab(getenv func(string) string) (*shard, error) {
	if getenv("CI_NODE_INDEX") == "" { // CI_NODE_TOTAL is 1 in every other job of GitLab's
		return nil, nil
	}
	n, err := numbers(getenv, "CI_NODE_INDEX", "CI_NODE_TOTAL")
	if err != nil {
		return nil, err
	}
	s, err := checkShard(n[0], n[1], "CI_NODE_INDEX and CI_NODE_TOTAL")
	return &s, err
}

// take picks this part's jobs. They are dealt out like cards, in the order of the list: each is in exactly one part, parts differ by one job at
// most, and by one of any experiment's repeats. It asks for nothing but the list, so that machines with different kernels agree.
func (s shard) take(jobs []job) []job {
	var out []job
	for _, j := range jobs {
		if (j.n-1)%s.count == s.index-1 {
			out = append(out, j)
		}
	}
	return out
}

// part is what this process makes of the list. It says so on standard error, because variables of a scheduler may be set where nobody thinks of
// them. settings are what belongs to the list besides its jobs: parts with other settings are not of the same list. whole is nil where there is
// but one part; otherwise it says which this is, without a Run.
func (a *app) part(s shard, jobs []job, what string, settings []string) (mine []job, whole *result.Shard) {
	if s.count == 1 {
		if s.from == slurmArray && len(jobs) > 1 {
			fmt.Fprintf(a.err, "shard 1/1: all %d %s (%s, of one task; a task that is submitted again needs --shard=I/N)\n", len(jobs), what, s.from)
		}
		return jobs, nil
	}
	whole = &result.Shard{Index: s.index, Count: s.count, Runs: len(jobs), List: digest(jobs, settings)}
	mine = s.take(jobs)
	for i, j := range mine {
		piece := *whole
		piece.Run = j.n
		mine[i].part, mine[i].n = &piece, i+1
	}
	fmt.Fprintf(a.err, "shard %d/%d: %d of %d %s (%s; --shard=none makes all)\n", s.index, s.count, len(mine), len(jobs), what, s.from)
	return mine, whole
}

// digest tells lists of runs apart: other experiments, parameters, repeats or settings give another.
func digest(jobs []job, settings []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", settings)
	for _, j := range jobs {
		source := ""
		if j.x.Source != nil {
			source = j.x.Source.Text
		}
		plan, _ := json.Marshal(j.plan) // and not %+v, which prints addresses
		fmt.Fprintf(h, "%q %q %s\n", j.x.Name, source, plan)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
