package runner

import (
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
)

func whyOf(t *testing.T, name string, profile experiments.Profile, a, b kernel.Version, hz, hzB int) Why {
	t.Helper()
	x, err := experiments.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(profile, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var envs []experiments.Env
	for i, v := range []kernel.Version{a, b} {
		f, err := kernel.Model(v, []int{hz, hzB}[i])
		if err != nil {
			t.Fatal(err)
		}
		e, err := Env(x, plan, f)
		if err != nil {
			t.Fatal(err)
		}
		envs = append(envs, e)
	}
	w, err := Causes(x, plan, envs[0], envs[1])
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestCauses finds what makes two kernels differ, and finds nothing where they do not. It catches a cause that is named by heart.
func TestCauses(t *testing.T) {
	v61, v612 := kernel.Version{Major: 6, Minor: 1}, kernel.Version{Major: 6, Minor: 12}
	for _, c := range []struct {
		name    string
		profile experiments.Profile
		a, b    kernel.Version
		hz, hzB int
		want    string // the one cause; "": the predictions are equal
	}{
		{"linear timeouts are the default", experiments.Kernel, v61, v612, 250, 250, "net.ipv4.tcp_syn_linear_timeouts"},
		{"and back", experiments.Kernel, v612, v61, 250, 250, "net.ipv4.tcp_syn_linear_timeouts"},
		{"the textbook profile turns them off", experiments.Textbook, v61, v612, 250, 250, ""},
		{"the same kernel", experiments.Kernel, v612, v612, 250, 250, ""},
		{"only the tick differs", experiments.Kernel, v612, v612, 250, 1000, "HZ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := whyOf(t, "exp1-syn-loss", c.profile, c.a, c.b, c.hz, c.hzB)
			if !w.Explained {
				t.Errorf("not explained: %+v", w)
			}
			if c.want == "" {
				if len(w.Changes)+len(w.Causes) != 0 {
					t.Errorf("equal kernels differ: %+v", w)
				}
				return
			}
			if len(w.Causes) != 1 || w.Causes[0].Name != c.want || !w.Causes[0].Whole || len(w.Changes) == 0 {
				t.Errorf("%d changes, causes %+v; want %s alone", len(w.Changes), w.Causes, c.want)
			}
		})
	}
}

// TestCausesTogether has two causes, of which neither is the whole: linear timeouts and the tick.
func TestCausesTogether(t *testing.T) {
	w := whyOf(t, "exp1-syn-loss", experiments.Kernel, kernel.Version{Major: 6, Minor: 1}, kernel.Version{Major: 6, Minor: 12}, 250, 1000)
	if len(w.Causes) != 2 || w.Causes[0].Whole || w.Causes[1].Whole || !w.Explained {
		t.Errorf("causes %+v, explained %v; want two parts of one whole", w.Causes, w.Explained)
	}
}
