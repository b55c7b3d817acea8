package experiments_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

// planned is an experiment under a profile with flags, on a kernel with HZ=250.
func planned(t *testing.T, x *experiments.Experiment, p experiments.Profile, version string, flags map[string]string) (experiments.Plan, experiments.Env, error) {
	t.Helper()
	v, err := kernel.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kernel.Model(v, 250)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(p, flags, nil)
	if err != nil {
		return plan, experiments.Env{}, err
	}
	e, err := runner.Env(x, plan, f)
	return plan, e, err
}

// foretold is all that an experiment says beforehand.
func foretold(x *experiments.Experiment, e experiments.Env) (string, timeline.Timeline, error) {
	t, err := x.Predict(e)
	return fmt.Sprintf("%+v", x.Setup(e.Options)), t, err
}

// others are values to try for a parameter.
func others(q experiments.Param) []string {
	if q.Sysctl != "" {
		k, _ := sysctl.Lookup(q.Sysctl)
		var out []string
		for n := k.Min; n <= k.Max && len(out) < 6; n++ {
			out = append(out, fmt.Sprint(n))
		}
		for _, c := range k.Choices {
			out = append(out, fmt.Sprint(c.Value))
		}
		return append(out, "0", "1", "1000", "20000", "300000")
	}
	out := append([]string(nil), q.Choices...)
	switch q.Kind {
	case experiments.Time:
		return append(out, "0s", "20ms", "100ms", "700ms", "1.5s", "3s", "30s")
	case experiments.List:
		return append(out, "1", "3", "2,4")
	case experiments.Choice:
		return out
	}
	return append(out, fmt.Sprint(q.Min), fmt.Sprint(q.Min+1), fmt.Sprint(q.Min+2), "1500", fmt.Sprint(q.Max))
}

// needs are the other flags without which a parameter is refused.
var needs = map[string]map[string]string{"watch": {"peer": "alive"}, "jitter": {"rtt": "100ms"}, "seed": {"rtt": "100ms", "jitter": "20ms"}, "reorder-by": {"reorder": "20%"}, "exp6-fast-retransmit early-retrans": {"lose": "last"},
	"exp7-zero-window watch":     {"drain-at": "never"},
	"exp8-fin-loss server-after": {"close": "both"}, "exp8-fin-loss fin-timeout": {"lose": "none"}, "exp8-fin-loss linger2": {"lose": "none"},
	"exp8-fin-loss server-orphan-retries": {"lose": "second-fin", "close": "both"}, "exp8-fin-loss server-fin-timeout": {"close": "both"},
	"exp8-fin-loss retries2": {"call": "shutdown"}, "exp8-fin-loss rto-max-ms": {"orphan-retries": "0"}}

// needed are those of a parameter, by its name or by the experiment's and its name.
func needed(x *experiments.Experiment, flag string) map[string]string {
	if with := needs[x.Name+" "+flag]; with != nil {
		return with
	}
	return needs[flag]
}

// TestEveryParameterMatters gives each parameter one value after the other. It catches one that Run uses and Predict forgets, and one that
// nobody uses.
func TestEveryParameterMatters(t *testing.T) {
	for _, x := range experiments.All() {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			said := func(flags map[string]string) (string, timeline.Timeline) {
				_, e, err := planned(t, x, experiments.Fast, "6.18", flags)
				if err != nil {
					t.Fatal(err)
				}
				setup, tl, err := foretold(x, e)
				if err != nil {
					t.Fatal(err)
				}
				return setup, tl
			}
			setup, alone := said(nil)
			if _, same := said(nil); cmp.Diff(alone, same) != "" {
				t.Error("got another prediction from the same input")
			}
			for _, q := range x.Params {
				setup, base := setup, alone
				if with := needed(x, q.Flag); with != nil {
					setup, base = said(with)
				}
				if !matters(t, x, q, setup, base) {
					t.Errorf("--%s: got the same setup and prediction with every value, want another", q.Flag)
				}
			}
		})
	}
}

func matters(t *testing.T, x *experiments.Experiment, q experiments.Param, setup string, base timeline.Timeline) bool {
	for _, v := range others(q) {
		flags := map[string]string{q.Flag: v}
		maps.Copy(flags, needed(x, q.Flag))
		_, e, err := planned(t, x, experiments.Fast, "6.18", flags)
		if err != nil {
			continue // this parameter does not take it
		}
		if s, got, err := foretold(x, e); err == nil && (s != setup || cmp.Diff(base, got) != "") {
			return true
		}
	}
	return false
}

// TestRivals catches a rival that cannot be predicted, that predicts the same as the truth, or whose flags the command line refuses: it
// would be offered as an explanation and explain nothing.
func TestRivals(t *testing.T) {
	for _, x := range experiments.All() {
		if x.Rivals == nil {
			continue
		}
		for _, version := range []string{"6.18", "5.15"} {
			t.Run(x.Name+" on "+version, func(t *testing.T) {
				t.Parallel()
				_, e, err := planned(t, x, experiments.Textbook, version, nil)
				if err != nil {
					t.Fatal(err)
				}
				e.Memory = oracle.NewMemory(nil) // as in a run: a rival of one connection among many leaves the others as they are
				truth, err := x.Predict(e)
				if err != nil {
					t.Fatal(err)
				}
				rivals := x.Rivals(e)
				if len(rivals) == 0 {
					t.Error("got no rivals, want some")
				}
				for _, r := range rivals {
					rival(t, x, r, truth)
				}
			})
		}
	}
}

func rival(t *testing.T, x *experiments.Experiment, r experiments.Rival, truth timeline.Timeline) {
	t.Helper()
	if _, known := explain.Lookup(r.Code); r.Text == "" || !known {
		t.Errorf("rival %q, code %s: want a text and a code that explain knows", r.Text, r.Code)
	}
	got, err := x.Predict(r.Env)
	if err != nil {
		t.Errorf("%s: %v", r.Text, err)
	} else if cmp.Diff(truth, got) == "" {
		t.Errorf("%s: got the prediction of the truth, want another", r.Text)
	}
	for _, flag := range r.Flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		if name == "kernel" || name == "profile" { // of the command, not of the experiment
			continue
		}
		if _, err := x.Plan(experiments.Textbook, map[string]string{name: value}, nil); err != nil {
			t.Errorf("%s: %v", r.Text, err)
		}
	}
}
