package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// mostRetries is the most that --on-inconclusive=retry:N takes.
const mostRetries = 100

// What --on-inconclusive says.
const (
	keepOpen = "keep"
	alone    = "alone"
)

// remake is how a run that decided nothing is made again: up to so many times, or once, when all others are over.
type remake struct {
	times int
	alone bool
}

// remakes reads --on-inconclusive. Where nobody said, labs of several experiments at once, which disturb each other, are made again alone.
func remakes(value string, several bool) (remake, error) {
	switch {
	case value == keepOpen, value == "" && !several:
		return remake{}, nil
	case value == alone, value == "":
		return remake{alone: true}, nil
	}
	if text, ok := strings.CutPrefix(value, "retry:"); ok {
		// Digits alone: Atoi would take a sign too.
		if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= mostRetries && strings.Trim(text, "0123456789") == "" {
			return remake{times: n}, nil
		}
	}
	return remake{}, usage(explain.ValueOutOfRange, fmt.Errorf("--on-inconclusive=%s: want keep, alone, or retry:N with N from 1 to %d", value, mostRetries))
}

// untilDecided makes one run, and makes it again while it decides nothing, as often as --on-inconclusive allows. A run that passes or fails is
// never made again. Each attempt has its folder and is shown; the last one counts, and names those before it.
func (b *batch) untilDecided(ctx context.Context, j job, watch func(job) watcher) error {
	for {
		if err := b.one(ctx, j, watch); err != nil {
			return err
		}
		if !b.open(j) || len(j.earlier) >= b.flags.remake.times {
			return nil
		}
		j = b.anew(j, fmt.Sprintf("again, attempt %d of at most %d", len(j.earlier)+2, b.flags.remake.times+1))
	}
}

// open reports whether the newest attempt of a job decided nothing.
func (b *batch) open(j job) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.results[j.n-1]
	return r != nil && r.Verdict == result.Inconclusive
}

// anew is a job that is to be made again, which the user is told.
func (b *batch) anew(j job, how string) job {
	b.mu.Lock()
	defer b.mu.Unlock()
	j.earlier = append(j.earlier[:len(j.earlier):len(j.earlier)], result.Attempt{Folder: j.folder.name, Reason: b.results[j.n-1].Reason})
	b.again++
	b.app.mu.Lock()
	defer b.app.mu.Unlock()
	fmt.Fprintf(b.app.err, "%s decided nothing: %s\n", j.x.Name, how)
	return j
}

// A run that decided nothing beside others is made once more, alone, where that takes no longer than briefly, or than this part of all of them.
const (
	briefly   = time.Minute
	aloneLess = 4
)

// makeAlone makes those again that decided nothing beside the others, one after the other: nothing of ours disturbs them now. What would take
// much longer than the others did stays as it is.
func (b *batch) makeAlone(ctx context.Context) error {
	_, whole := announcement(b.jobs, b.took, b.flags.parallel)
	for _, j := range b.jobs {
		if !b.open(j) || b.took[j.n-1] > max(briefly, whole/aloneLess) {
			continue
		}
		if err := b.one(ctx, b.anew(j, "again, alone"), b.watchQuiet); err != nil && !b.keepOn(ctx, j, err) {
			return err
		}
	}
	return nil
}
