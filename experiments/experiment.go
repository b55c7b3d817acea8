// Package experiments is the catalogue: each experiment is data (name, question, parameters, what it breaks) and two functions, in one
// file. Predict asks the oracle, Run uses the verbs of package lab; capture, settling, comparison and teardown are the runner's.
//
// It is not for judging: Run never looks at a prediction, Predict never at a packet. Its one trap: Predict must ask for every setting
// it depends on through Env, never assume a default, so that a prediction always follows what the lab really has.
package experiments

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// Profile decides the values of the parameters that the user did not give.
type Profile string

// The profiles.
const (
	Textbook Profile = "textbook" // what the classic numbers need, on any kernel
	Kernel   Profile = "kernel"   // this kernel's own defaults, untouched
	Fast     Profile = "fast"     // the smallest honest values
)

// Profiles lists the profiles, the default first.
func Profiles() []Profile { return []Profile{Textbook, Kernel, Fast} }

// ParseProfile reads a profile's name.
func ParseProfile(s string) (Profile, error) {
	for _, p := range Profiles() {
		if string(p) == s {
			return p, nil
		}
	}
	return "", fmt.Errorf("profile %q: want textbook, kernel or fast", s)
}

// ParamKind is the form of an option's value.
type ParamKind int

// The kinds of option.
const (
	Number  ParamKind = iota // a whole number from Min to Max
	Choice                   // one of Choices
	Time                     // a duration such as 20ms or 1.5s, from Min to Max nanoseconds
	List                     // numbers from Min to Max with commas between them, or one of Choices
	Percent                  // a share such as 10% or 0.5%, from Min to Max percent
	Rate                     // bits in a second such as 10mbit or 500kbit, from Min to Max bit/s
)

// Param is a typed parameter of an experiment: an integer that is a sysctl of one host, or an option that Setup, Predict and Run read.
type Param struct {
	Flag string // "syn-retries"
	Doc  string // one line, with the unit
	// Host and Sysctl name the knob that the parameter is; empty: it is an option, in Env.Options.
	Host, Sysctl string
	// SocketOption is the option of the client's socket that the parameter is, by its kernel name ("TCP_SYNCNT"); empty: none.
	SocketOption string
	// Kind is the form of an option, Min and Max bound it, Choices list the words that it takes. A sysctl's are in the catalogue.
	Kind     ParamKind
	Min, Max int64
	Choices  []string
	// IPv6 are the words among Choices that only a run over IPv6 takes, and IPv4 those that it does not. Nil: none.
	IPv6, IPv4 []string
	// Default is an option's value under every profile that has no value of its own; empty: it is not given. A knob's is the kernel's.
	Default string
	// Textbook and Fast are the values under these profiles; empty: left alone. The kernel profile always leaves a knob alone.
	Textbook, Fast string
	// Absent is the value that a kernel without the knob behaves as, so that asking for it there changes nothing; empty: the knob
	// is required when a value is given.
	Absent string
	// Code is what `tcplab explain` knows about the parameter, "" for nothing.
	Code string
	// Words are words for values of a knob: "off" for "0".
	Words map[string]string
}

// Fault is what an experiment breaks.
type Fault struct {
	Host string
	Rule lab.Rule
}

// Setup is what stands before the first packet.
type Setup struct {
	// Listen are the servers, on the server's host. The first one is the one that inet_diag is asked about.
	Listen []lab.ListenOptions
	// Faults are the rules that are in place from the start. Run may make more.
	Faults []Fault
	// RTT is the round-trip time of the link. Zero: a veth, some 20 to 60 µs. Where the experiment has the parameter, register sets it.
	RTT time.Duration
	// Link is what the link does besides, to the segments with data that the client sends, and Frames how many of them are on it at once at most.
	// Zero: nothing.
	Link   link.Plan
	Frames int
	// NoNeighbours leaves the neighbour tables empty, so that ARP has to fill them, or neighbour discovery.
	NoNeighbours bool
	// IPv6 has the lab's addresses be of IPv6. Setup.Over sets it.
	IPv6 bool
	// OwnMSS is the host whose MSS Run sets. Empty: both announce the link's.
	OwnMSS string
	// LookAt is the client's port of the connection that inet_diag is asked about, where several clients come from ports of their own: packets
	// are then told apart by that port. 0: there is one client, or each has a server's port of its own.
	LookAt uint16
	// Apart says that several clients do different things side by side, each with a server's port of its own: the calls of each are told apart
	// by it too, and each is watched for as long as its own prediction goes.
	Apart bool
	// Router puts a third namespace between the hosts, which forwards between two networks.
	Router bool
	// LinkDown is the host whose end of the link is taken down, and with it its capture. Empty: none. LinkFalls is one whose end Run takes down.
	LinkDown, LinkFalls string
	// OneSided says why a packet that one end's capture shows may be missing from the other's, though no rule caught it ("the link is
	// down"). Empty: it may not.
	OneSided string
}

// OnLink is how long a frame is under way at most on a link that keeps its time.
func (s Setup) OnLink() time.Duration {
	const frame = 1514 // the longest, with its Ethernet header
	return s.RTT/2 + s.Link.Longest(s.Frames, frame)
}

// Call is a call of a program after the client's first one: of the client's, which Run makes at a time that is planned beforehand, or of
// the server's, which sends something of its own accord (an answer, a FIN) when its options say.
type Call struct {
	Name string
	At   time.Duration // from the first call on; whole jiffies make a prediction exact (Env.Whole)
	Host string        // "server"; empty: the client
	// Port marks a connect(2) of one of several clients side by side, by the server's port or its own (Setup.LookAt): it is found by that, and not by its place in
	// the list, and the first of them is listed too. With Setup.Apart all calls have one, and are found by their place among those with the same. 0: it is not one.
	Port uint16
}

// Experiment is one entry of the catalogue.
type Experiment struct {
	Name     string // "exp1-syn-loss"
	Summary  string // one line: "every SYN is lost on its way to the server"
	Question string // what the reader is asked to wonder
	Params   []Param

	// Settings hold under every profile; --set goes on top of them.
	Settings []Setting
	// Source is the file that it was read from; nil: it is one of the catalogue.
	Source *Source

	// Flows are the ports by which its connections are known to the link where several share it: one that has --jitter throws dice for each. Nil:
	// there is one connection. It must be pure.
	Flows func(Options) []uint16
	// UnderJitter are Settings that hold only with a jitter.
	UnderJitter []Setting
	// Setup says what is built and broken for these options. It must be pure.
	Setup func(Options) Setup
	// Calls lists the calls of the programs after the client's first, each host's in order of time. Nil: there are none. It must be pure.
	Calls func(Env) []Call
	// Predict computes what the kernel will do: over every phase of jiffies where Env.Start is nil, and else exactly for it. It must
	// be pure.
	Predict func(Env) (timeline.Timeline, error)
	// Cases are the rows of a table that answers the experiment's question, from the prediction alone. Nil: there is none. It must be pure.
	Cases func(Env) ([]result.Case, error)
	// Run does it. An error means that the experiment could not be carried out; a call that fails is an observation, not an error.
	Run func(context.Context, *lab.Lab, Env) error
	// States are the TCP states that each host's socket must pass through, in order, as inet_diag names them. One in parentheses may
	// be too short to be seen. Nil: they are not judged.
	States func(Env) map[string][]string
	// Checks are expectations beside the schedule, over a result that is complete but for its verdict. Nil: none.
	Checks func(Env, *result.Result) []result.Check
	// Rivals are other explanations, tested when the prediction was contradicted: what a differently set or different kernel does.
	Rivals func(Env) []Rival
	// Story tells what happened from the finished result, in sentences.
	Story func(*result.Result) []result.Sentence
	// ByHand are the commands of a person that do what Run does, in the directory of the captures. Nil: curl, or a line of Python that
	// connects.
	ByHand func(Plan) []string
	// HandServer is the server for them, a command on the server's host. Nil: one for the first listener alone, by what it does.
	HandServer func(Plan) string
}

// Source is an experiment's file.
type Source struct{ Path, Text string }

// Title is what a command line calls the experiment: its name, or the path of its file.
func (x *Experiment) Title() string {
	if x.Source != nil {
		return x.Source.Path
	}
	return x.Name
}

// Rival is another model of the same run.
type Rival struct {
	Code string // for `tcplab explain`
	Text string // "tcp_syn_linear_timeouts is 4"
	// Flags make `tcplab predict` show what the rival predicts: "--syn-linear-timeouts=4".
	Flags []string
	Env   Env
}

// Setting is one sysctl that a plan sets.
type Setting struct {
	Host, Name, Value string
	Origin            string // "--syn-retries", "textbook profile", "--set"
	Code              string
	// Optional settings are skipped on a kernel without the knob: the value is what such a kernel does anyway.
	Optional bool
}

// Plan is an experiment with all its parameters decided.
type Plan struct {
	Profile  Profile
	Settings []Setting
	Options  Options
	Params   []result.Param
}

// Plan decides the parameters: values given by flag, then the profile's, then --set assignments on top. A value out of range, an
// unknown flag or an unknown knob is an error, and nothing was touched.
func (x *Experiment) Plan(p Profile, flags map[string]string, set []string) (Plan, error) {
	plan := Plan{Profile: p, Options: Options{}, Settings: slices.Clone(x.Settings)}
	for flag := range flags {
		if _, ok := x.param(flag); !ok {
			return Plan{}, x.Lacks(flag)
		}
	}
	for _, q := range x.Params {
		value, from := q.profileValue(p), "profile"
		origin := string(p) + " profile"
		if v, ok := flags[q.Flag]; ok {
			value, from, origin = v, "flag", "--"+q.Flag
			if v == "" { // not the same as not given
				return Plan{}, fmt.Errorf("--%s=: want a value", q.Flag)
			}
		}
		if value == "" && q.Sysctl == "" {
			continue // an option that was not asked for
		}
		if value == "" {
			plan.Params = append(plan.Params, result.Param{Name: q.Flag, Value: "", From: "kernel"})
			continue
		}
		if v, ok := q.Words[value]; ok {
			value = v
		}
		if from == "profile" && q.ownValue(p) == "" {
			from = "default"
		}
		if err := q.check(value); err != nil {
			return Plan{}, err
		}
		if err := q.fits(value, flags["ipv6"] == "yes"); err != nil {
			return Plan{}, err
		}
		plan.Params = append(plan.Params, result.Param{Name: q.Flag, Value: value, From: from})
		if q.Sysctl == "" {
			plan.Options[q.Flag] = value
			continue
		}
		plan.Settings = append(plan.Settings, Setting{
			Host: q.Host, Name: q.Sysctl, Value: value, Origin: origin, Code: q.Code, Optional: q.Absent != "" && value == q.Absent,
		})
	}
	if x.jitters() { // before the lab builds the link, which would refuse some of it in other words
		if err := plan.Options.soundJitter(); err != nil {
			return Plan{}, err
		}
		if plan.Options.jitter() > 0 {
			plan.Settings = append(plan.Settings, x.UnderJitter...)
		}
	}
	for _, s := range set {
		if err := plan.assign(s); err != nil {
			return Plan{}, err
		}
	}
	return plan, nil
}

// Lacks is the error of a parameter that the experiment does not have.
func (x *Experiment) Lacks(flag string) error {
	return fmt.Errorf("%s has no parameter --%s", x.Name, flag)
}

// assign adds one --set assignment; it wins over what was decided before.
func (p *Plan) assign(s string) error {
	host, name, value, err := sysctl.Parse(s)
	if err != nil {
		return err // it names --set and the assignment
	}
	hosts := []string{host}
	if host == "both" {
		hosts = []string{"client", "server"}
	}
	for _, h := range hosts {
		kept := p.Settings[:0]
		for _, old := range p.Settings {
			if old.Host != h || old.Name != name {
				kept = append(kept, old)
			}
		}
		p.Settings = append(kept, Setting{Host: h, Name: name, Value: value, Origin: "--set"})
	}
	return nil
}

// profileValue is what the parameter is under a profile; empty: it is left alone.
func (q Param) profileValue(p Profile) string {
	if v := q.ownValue(p); v != "" || q.Sysctl != "" {
		return v
	}
	return q.Default
}

// ownValue is what a profile itself says of the parameter, or "".
func (q Param) ownValue(p Profile) string {
	switch p {
	case Textbook:
		return q.Textbook
	case Fast:
		return q.Fast
	}
	return ""
}

func (q Param) check(value string) error {
	if q.Sysctl != "" {
		k, ok := sysctl.Lookup(q.Sysctl)
		if !ok {
			panic("experiments: " + q.Sysctl + " is not in the catalogue") // a mistake in this package: a test walks all parameters
		}
		if err := k.Check(value); err != nil {
			return fmt.Errorf("--%s=%s: %w", q.Flag, value, err)
		}
		return nil
	}
	if slices.Contains(q.Choices, value) {
		return nil
	}
	switch q.Kind {
	case Choice:
		return fmt.Errorf("--%s=%s: want %s", q.Flag, value, or(q.Choices))
	case Time:
		d, err := time.ParseDuration(value)
		if err != nil || int64(d) < q.Min || int64(d) > q.Max {
			return fmt.Errorf("--%s=%s: want a time from %v to %v, such as 20ms or 1.5s", q.Flag, value, time.Duration(q.Min), time.Duration(q.Max))
		}
		return nil
	case List:
		for _, f := range strings.Split(value, ",") {
			if n, err := strconv.ParseInt(f, 10, 64); err != nil || n < q.Min || n > q.Max {
				return fmt.Errorf("--%s=%s: want whole numbers from %d to %d with commas between them%s", q.Flag, value, q.Min, q.Max, orWords(q.Choices))
			}
		}
		return nil
	case Percent:
		if f, err := parsePercent(value); err != nil || f < float64(q.Min) || f > float64(q.Max) {
			return fmt.Errorf("--%s=%s: want a share from %d%% to %d%%, such as 10%% or 0.5%%", q.Flag, value, q.Min, q.Max)
		}
		return nil
	case Rate:
		if n, err := parseRate(value); err != nil || n < q.Min || n > q.Max {
			return fmt.Errorf("--%s=%s: want a rate from %s to %s, such as 10mbit or 500kbit", q.Flag, value, plainRate(q.Min), plainRate(q.Max))
		}
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < q.Min || n > q.Max {
		return fmt.Errorf("--%s=%s: want a whole number from %d to %d%s", q.Flag, value, q.Min, q.Max, orWords(q.Choices))
	}
	return nil
}

// fits refuses a word that belongs to the other family.
func (q Param) fits(value string, ipv6 bool) error {
	others, with := q.IPv6, "that is one of IPv6, and this run is not (--ipv6)"
	if ipv6 {
		others, with = q.IPv4, "that is one of IPv4, and the run is over IPv6"
	}
	if !slices.Contains(others, value) {
		return nil
	}
	words := slices.DeleteFunc(slices.Clone(q.Choices), func(s string) bool { return slices.Contains(others, s) })
	return fmt.Errorf("--%s=%s: %s: want %s", q.Flag, value, with, or(words))
}

// or writes "a, b or c".
func or(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func orWords(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return ", or " + or(words)
}

// Defaults are the options of a plan without flags under the textbook profile.
func (x *Experiment) Defaults() Options {
	o := Options{}
	for _, q := range x.Params {
		if v := q.profileValue(Textbook); q.Sysctl == "" && v != "" {
			o[q.Flag] = v
		}
	}
	return o
}

func (x *Experiment) param(flag string) (Param, bool) {
	for _, q := range x.Params {
		if q.Flag == flag {
			return q, true
		}
	}
	return Param{}, false
}

var catalogue []*Experiment

// register adds an experiment to the catalogue, from the init function of its file.
func register(x *Experiment) {
	x.overBoth()
	x.overLink()
	x.overJitter()
	catalogue = append(catalogue, x)
	slices.SortFunc(catalogue, func(a, b *Experiment) int {
		return cmp.Or(cmp.Compare(a.number(), b.number()), cmp.Compare(a.Name, b.Name))
	})
}

// number is that in the experiment's name: exp10 comes after exp9.
func (x *Experiment) number() int {
	head, _, _ := strings.Cut(x.Name, "-")
	n, _ := strconv.Atoi(strings.TrimPrefix(head, "exp"))
	return n
}

// All lists the catalogue by number and name.
func All() []*Experiment { return append([]*Experiment(nil), catalogue...) }

// Find resolves a name or a unique prefix of one. "exp1" is the number of one, and not the beginning of exp10.
func Find(name string) (*Experiment, error) {
	var hits []*Experiment
	for _, x := range catalogue {
		if x.Name == name {
			return x, nil
		}
		if name != "" && strings.HasPrefix(x.Name, name) {
			hits = append(hits, x)
		}
	}
	if whole := slices.DeleteFunc(slices.Clone(hits), func(x *Experiment) bool { return !strings.HasPrefix(x.Name, name+"-") }); len(whole) > 0 {
		hits = whole
	}
	if len(hits) == 1 {
		return hits[0], nil
	}
	var names []string
	for _, x := range catalogue {
		names = append(names, x.Name)
	}
	if len(hits) > 1 {
		names = names[:0]
		for _, x := range hits {
			names = append(names, x.Name)
		}
		return nil, fmt.Errorf("experiment %q: could be %s", name, strings.Join(names, ", "))
	}
	return nil, &UnknownError{Name: name, Known: names}
}

// UnknownError says that there is no such experiment.
type UnknownError struct {
	Name  string
	Known []string
}

// Error names what was asked for; the caller adds a suggestion from Known.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("experiment %q: there is none of that name", e.Name)
}
