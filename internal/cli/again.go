package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// mostRetries is the most that --on-inconclusive=retry:N takes.
const mostRetries = 100

// retries reads --on-inconclusive: how often a run that decided nothing is made again.
func retries(value string) (int, error) {
	if value == "keep" {
		return 0, nil
	}
	if text, ok := strings.CutPrefix(value, "retry:"); ok {
		// Digits alone: Atoi would take a sign too.
		if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= mostRetries && strings.Trim(text, "0123456789") == "" {
			return n, nil
		}
	}
	return 0, usage(explain.ValueOutOfRange, fmt.Errorf("--on-inconclusive=%s: want keep, or retry:N with N from 1 to %d", value, mostRetries))
}

// untilDecided makes one run, and makes it again while it decides nothing, as often as --on-inconclusive allows. A run that passes or fails is
// never made again. Each attempt has its folder and is shown; the last one counts, and names those before it.
func (b *batch) untilDecided(ctx context.Context, j job, watch func(job) watcher) error {
	for {
		if err := b.one(ctx, j, watch); err != nil {
			return err
		}
		b.mu.Lock()
		r := b.results[j.n-1]
		b.mu.Unlock()
		if r == nil || r.Verdict != result.Inconclusive || len(j.earlier) >= b.flags.retries {
			return nil
		}
		j.earlier = append(j.earlier[:len(j.earlier):len(j.earlier)], result.Attempt{Folder: j.folder.name, Reason: r.Reason})
		b.mu.Lock()
		b.again++
		fmt.Fprintf(b.app.err, "%s decided nothing: again, attempt %d of at most %d\n", j.x.Name, len(j.earlier)+1, b.flags.retries+1)
		b.mu.Unlock()
	}
}
