package cli

import (
	"fmt"

	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/setting"
	"github.com/tcplab/tcplab/sysctl"
)

const explainSchema = "tcplab.explain/v1"

// explainDocument is what `tcplab explain --json` prints. Times are in seconds; the form is additive only.
type explainDocument struct {
	Schema    string              `json:"schema"` // explainSchema
	Codes     []codeDocument      `json:"codes,omitempty"`
	Kernel    string              `json:"kernel,omitempty"` // "6.18"
	HZ        int                 `json:"hz,omitempty"`
	Given     []valueDocument     `json:"given,omitempty"`
	Meanings  []meaningDocument   `json:"meanings,omitempty"`
	Elsewhere []elsewhereDocument `json:"elsewhere,omitempty"`
	Sysctls   []sysctlDocument    `json:"sysctls,omitempty"`
	Options   []optionDocument    `json:"options,omitempty"`
}

type codeDocument struct {
	Code  string   `json:"code"`
	Title string   `json:"title"`
	Text  []string `json:"text"`
	See   []string `json:"see,omitempty"`
}

type valueDocument struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from,omitempty"`
}

type meaningDocument struct {
	About    string          `json:"about"`
	Says     []string        `json:"says"`
	Settings []valueDocument `json:"settings,omitempty"`
	Nominal  result.Seconds  `json:"nominal,omitempty"` // what the settings stand for by the formula
	Formula  string          `json:"formula,omitempty"`
	Events   []result.Event  `json:"events,omitempty"` // when nobody answers
	Outcome  *result.Event   `json:"outcome,omitempty"`
	Notes    []result.Note   `json:"notes,omitempty"`
}

type elsewhereDocument struct {
	Kernel   string            `json:"kernel"`
	HZ       int               `json:"hz"`
	Error    string            `json:"error,omitempty"` // why the settings mean nothing there
	Meanings []meaningDocument `json:"meanings,omitempty"`
}

type sysctlDocument struct {
	Name         string            `json:"name"`
	Summary      string            `json:"summary"`
	Meaning      string            `json:"meaning"`
	Unit         string            `json:"unit"`
	Values       string            `json:"values"`
	Choices      map[string]string `json:"choices,omitempty"`
	Defaults     []defaultDocument `json:"defaults"`
	Since        string            `json:"since"`
	Gone         string            `json:"gone,omitempty"`
	Here         *bool             `json:"here,omitempty"`          // whether the kernel that was asked about has it
	PerNamespace string            `json:"per_namespace,omitempty"` // absent: one value for the machine
	Read         string            `json:"read"`
	Source       string            `json:"source"`
}

type defaultDocument struct {
	Since string `json:"since,omitempty"`
	Value string `json:"value,omitempty"`
	Rule  string `json:"rule,omitempty"`
}

type optionDocument struct {
	Name      string `json:"name"`
	Number    int    `json:"number"`
	Summary   string `json:"summary"`
	Meaning   string `json:"meaning"`
	Unit      string `json:"unit"`
	Min       int64  `json:"min"`
	Max       int64  `json:"max"`
	Overrides string `json:"overrides,omitempty"`
	Since     string `json:"since,omitempty"`
	Source    string `json:"source"`
}

// document is the answer as JSON.
func (d *answer) document() explainDocument {
	doc := explainDocument{Schema: explainSchema, HZ: d.facts.HZ, Meanings: meaningDocuments(d.meanings)}
	known := d.facts.HZ != 0
	if known {
		doc.Kernel = d.facts.Version.String()
	}
	for _, g := range d.given {
		doc.Given = append(doc.Given, valueDocument{Name: g.Name, Value: g.Value})
	}
	for _, o := range d.other {
		e := elsewhereDocument{Kernel: o.facts.Version.String(), HZ: o.facts.HZ, Meanings: meaningDocuments(o.meanings)}
		if o.err != nil {
			e.Error = o.err.Error()
		}
		doc.Elsewhere = append(doc.Elsewhere, e)
	}
	for _, k := range d.knobs {
		s := sysctlForm(k)
		if known {
			here := setting.Question{Facts: d.facts}.Has(k.Short())
			s.Here = &here
		}
		doc.Sysctls = append(doc.Sysctls, s)
	}
	for _, o := range d.options {
		doc.Options = append(doc.Options, optionDocument(o))
	}
	return doc
}

func sysctlForm(k sysctl.Knob) sysctlDocument {
	s := sysctlDocument{Name: k.Name, Summary: k.Summary, Meaning: k.Meaning, Unit: k.Unit, Values: k.Range(), Since: k.Since.String(), Gone: k.Gone,
		Read: string(k.ReadAt), Source: k.Source}
	if k.PerNamespace.First() != "" {
		s.PerNamespace = k.PerNamespace.String()
	}
	for _, c := range k.Choices {
		if s.Choices == nil {
			s.Choices = map[string]string{}
		}
		s.Choices[fmt.Sprint(c.Value)] = c.Meaning
	}
	for _, v := range k.Defaults {
		s.Defaults = append(s.Defaults, defaultDocument{v.Since, v.Value, v.Computed})
	}
	return s
}

func meaningDocuments(ms []setting.Meaning) []meaningDocument {
	var out []meaningDocument
	for _, m := range ms {
		d := meaningDocument{About: m.About, Says: m.Says, Nominal: result.Seconds(m.Nominal), Formula: m.Formula}
		for _, v := range m.Settings {
			d.Settings = append(d.Settings, valueDocument(v))
		}
		for _, n := range m.Notes {
			d.Notes = append(d.Notes, result.Note{Code: n.Code, Text: n.Text})
		}
		if m.Timeline != nil {
			for _, e := range m.Timeline.Events {
				d.Events = append(d.Events, judge.FromTimeline(e))
			}
			o := judge.FromTimeline(*m.Timeline.Outcome)
			d.Outcome = &o
		}
		out = append(out, d)
	}
	return out
}
