package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/timeline"
)

// A model is one of the oracle's mechanisms with the steps and faults that it speaks of.
type model struct {
	name string
	// fits binds the model to a file. The error says what in the file it does not speak of.
	fits func(f *File) (bound, error)
}

// bound is a model that knows its file.
type bound struct {
	name    string
	predict func(e experiments.Env) (timeline.Timeline, error)
	// calls are those of the programs that the prediction reads the times of.
	calls func(e experiments.Env) []experiments.Call
	// states are what both sockets pass through; nil: not judged.
	states func(e experiments.Env) map[string][]string
}

// models are tried in this order where a file names none.
var models = []model{
	{"handshake", handshake}, {"refusal", refusal}, {"exchange", exchange}, {"black-hole", blackHole}, {"keepalive", keepalive}, {"recovery", recovery},
}

// misfit says where a file is not what a model speaks of.
type misfit struct {
	pos  Pos
	text string
}

func (m *misfit) Error() string { return m.text }

func misfitAt(pos Pos, format string, a ...any) error { return &misfit{pos, fmt.Sprintf(format, a...)} }

// model finds what predicts the file: its text, the model that it names, or the first that fits.
func (f *File) model() (bound, []Problem) {
	if f.Expect.Text != nil {
		s := f.Expect.Text
		return bound{name: "text", predict: func(e experiments.Env) (timeline.Timeline, error) { return s.timeline(e.Facts), nil }}, nil
	}
	var why []string
	for _, m := range models {
		if f.Expect.Model != "" && f.Expect.Model != m.name {
			continue
		}
		b, err := m.fits(f)
		if err == nil {
			b.name = m.name
			return b, nil
		}
		if f.Expect.Model != "" {
			pos := f.Expect.Pos
			if at := new(misfit); errors.As(err, &at) && at.pos != (Pos{}) {
				pos = at.pos
			}
			return bound{}, []Problem{{pos, fmt.Sprintf("expect: the model %s does not speak of this: %v", m.name, err)}}
		}
		why = append(why, m.name+": "+err.Error())
	}
	return bound{}, []Problem{{f.Steps[0].Pos, "expect: no model speaks of these steps and faults; write what you expect into expect.text, line by line (" +
		strings.Join(why, "; ") + ")"}}
}

// knobs reads what an oracle needs of the effective settings, and keeps the errors.
type knobs struct {
	e    experiments.Env
	errs []error
}

func (k *knobs) int(host, name string) int64 {
	v, _, err := k.e.Int(host, "net.ipv4."+name)
	k.errs = append(k.errs, err)
	return v
}

func (k *knobs) on(name string) bool { return k.int("client", name) != 0 && k.int("server", name) != 0 }

func (k *knobs) ms(host, name string) time.Duration {
	return time.Duration(k.int(host, name)) * time.Millisecond
}

func (k *knobs) us(host, name string) time.Duration {
	return time.Duration(k.int(host, name)) * time.Microsecond
}

func (k *knobs) seconds(host, name string) time.Duration {
	return time.Duration(k.int(host, name)) * time.Second
}

func (k *knobs) err() error { return errors.Join(k.errs...) }

// acts are the steps but the connect and what is set before it: those that a model looks at.
func (f *File) acts() []Step {
	i := slices.IndexFunc(f.Steps, func(s Step) bool { return s.Kind == StepConnect })
	return f.Steps[i+1:]
}

// connect is the step that opens the connection.
func (f *File) connect() Step {
	i := slices.IndexFunc(f.Steps, func(s Step) bool { return s.Kind == StepConnect })
	return f.Steps[i]
}

// shape is what the client does, in words: "send receive fault send receive".
func shape(steps []Step) string {
	var s []string
	for _, x := range steps {
		s = append(s, string(x.Kind))
	}
	return strings.Join(s, " ")
}

// shaped wants the steps after the connect to be one of some rows.
func (f *File) shaped(rows ...string) (string, error) {
	got := shape(f.acts())
	if slices.Contains(rows, got) {
		return got, nil
	}
	var wanted []string
	for _, r := range rows {
		if r == "" {
			r = "nothing"
		}
		wanted = append(wanted, r)
	}
	pos := f.connect().Pos
	if acts := f.acts(); len(acts) > 0 {
		pos = acts[0].Pos
	}
	if got == "" {
		got = "nothing"
	}
	return "", misfitAt(pos, "after connect it knows %s, and not %s", strings.Join(wanted, " or "), got)
}

// broken are the faults but delays, which are part of the link's round trip.
func (f *File) broken() []Fault {
	return slices.DeleteFunc(slices.Clone(f.Faults), func(x Fault) bool { return x.Kind == Delay })
}

// whole wants a link that loses nothing.
func (f *File) whole() error {
	if b := f.broken(); len(b) > 0 {
		return misfitAt(b[0].Pos, "it wants a link without faults")
	}
	return nil
}

// listening wants the connect to go where the server listens.
func (f *File) listening() error {
	if f.connect().Connect.Port != f.Server.Port {
		return misfitAt(f.connect().Pos, "it wants a server at the port: connect goes to %d, and the server listens on %d", f.connect().Connect.Port, f.Server.Port)
	}
	return nil
}

// silent wants one fault that is switched on by a step: everything from the client is lost from then on.
func (f *File) silent() error {
	b := f.broken()
	if len(b) == 1 && b[0].Off && b[0].Kind == Drop && b[0].Role == All && b[0].From == "client" && b[0].At == "server" {
		return nil
	}
	pos := f.connect().Pos
	if len(b) > 0 {
		pos = b[0].Pos
	}
	return misfitAt(pos, "it wants one fault, {drop: all} with a name, which a step switches on")
}

// call is a step as a call that is planned for a time.
func (f *File) call(e experiments.Env, i int) experiments.Call {
	s := f.acts()[i]
	return experiments.Call{Name: fmt.Sprintf("%s (line %d)", s.Kind, s.Pos.Line), At: e.Whole(s.At)}
}

// made is when a call of calls was made, as far as that is known.
func made(e experiments.Env, c experiments.Call) time.Duration { return e.Call(c.Name, c.At) }
