//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

// deviation makes runs and looks how long after its predicted tick each packet, and each end of connect(2), was seen.
func (p plan) deviation() error {
	if p.runs == 0 {
		return nil
	}
	rs, _, err := p.run(p.runs, p.parallel)
	if err != nil {
		return err
	}
	var packets, ends []time.Duration
	open := 0
	for _, r := range rs {
		for _, e := range r.Events {
			switch {
			case e.OffTick != nil:
				packets = append(packets, e.OffTick.Duration())
			case e.Seen != nil && *e.Seen > 0:
				open++
			}
		}
		if r.Outcome != nil && r.Outcome.OffTick != nil {
			ends = append(ends, r.Outcome.OffTick.Duration())
		}
	}
	rows := [][]string{{fmt.Sprintf("after the predicted tick, %d runs, %d at once", len(rs), p.parallel), "number", "soonest", "median", "p99", "latest"}}
	for _, row := range []struct {
		name string
		d    []time.Duration
	}{{"SYN again, on the wire", packets}, {"connect() returns, in the client", ends}} {
		if len(row.d) == 0 {
			rows = append(rows, []string{row.name, "0"})
			continue
		}
		rows = append(rows, []string{row.name, strconv.Itoa(len(row.d)), us(slices.Min(row.d)), us(quantile(row.d, 50)), us(quantile(row.d, 99)), us(slices.Max(row.d))})
	}
	rows = append(rows, []string{"without a tick to measure from (phase not known)", strconv.Itoa(open)}, []string{"verdicts", verdicts(rs)})
	return table(rows...)
}

// equal makes many runs at once and counts their verdicts.
func (p plan) equal() error {
	if p.many == 0 {
		return nil
	}
	rs, took, err := p.run(p.many, p.many)
	if err != nil {
		return err
	}
	return table([]string{strconv.Itoa(p.many) + " labs at once", verdicts(rs), fmt.Sprintf("%.1f s in all", took.Seconds())})
}

// verdicts counts them: "48 pass, 2 inconclusive".
func verdicts(rs []result.Result) string {
	count := map[result.Verdict]int{}
	for _, r := range rs {
		count[r.Verdict]++
	}
	var s []string
	for _, v := range []result.Verdict{result.Pass, result.Fail, result.Inconclusive, result.Error, result.Unable, result.Skip} {
		if n := count[v]; n > 0 {
			s = append(s, fmt.Sprintf("%d %s", n, v))
		}
	}
	return strings.Join(s, ", ")
}

// run makes n fast runs of exp1, parallel at once.
func (p plan) run(n, parallel int) ([]result.Result, time.Duration, error) {
	dir, err := os.MkdirTemp("", "tcplab-bench-")
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(p.tcplab, "run", "exp1-syn-loss", "--profile=fast", "--json", "--out="+dir, "--repeat="+strconv.Itoa(n), "--parallel="+strconv.Itoa(parallel))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	out, rerr := cmd.Output()
	took := time.Since(began)
	if err := os.RemoveAll(dir); err != nil {
		return nil, 0, err
	}
	var exit *exec.ExitError
	if rerr != nil && !errors.As(rerr, &exit) { // a failed or inconclusive run is a figure too
		return nil, 0, rerr
	}
	if n == 1 {
		var one result.Result
		if err := json.Unmarshal(out, &one); err != nil {
			return nil, 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, errs.String())
		}
		return []result.Result{one}, took, nil
	}
	var doc struct {
		Results []result.Result `json:"results"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return nil, 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, errs.String())
	}
	return doc.Results, took, nil
}

// kill runs the test that kills runs at random moments, and says what it found.
func (p plan) kill() error {
	if p.killTest == "" {
		return nil
	}
	cmd := exec.Command(p.killTest, "-test.run=^TestKill$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), "TCPLAB_REQUIRE=1")
	out, err := cmd.CombinedOutput()
	found := "nothing"
	if err != nil {
		found = err.Error() + "\n" + string(out)
	}
	if err == nil && !bytes.Contains(out, []byte("--- PASS: TestKill")) {
		return fmt.Errorf("%s did not run TestKill: %s", p.killTest, out)
	}
	return table([]string{"kill -9 at 20 random moments leaves behind", found})
}
