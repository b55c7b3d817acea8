package spec

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed schema.json
var schemaText []byte

// Schema is the JSON schema of the form, which editors understand.
func Schema() []byte { return slices.Clone(schemaText) }

const schemaURL = "https://tcplab.invalid/experiment.schema.json" // a name, not a place

// compiled is the schema twice: to judge by, and to look up what it wants at a place.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, any) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		panic("spec: schema.json: " + err.Error()) // a mistake in this package, which every test meets
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaURL, doc); err != nil {
		panic("spec: schema.json: " + err.Error())
	}
	return c.MustCompile(schemaURL), doc
})

// judge holds a document against the schema and returns all that does not fit, and the sections (keys of the document) that it lies in; "" is
// the document itself.
func judge(root *node) ([]Problem, map[string]bool) {
	s, doc := compiled()
	j := &judging{root: root, doc: doc, sections: map[string]bool{}}
	if err := s.Validate(root.plain()); err != nil {
		verr, ok := err.(*jsonschema.ValidationError)
		if !ok {
			return []Problem{{root.pos, err.Error()}}, map[string]bool{"": true}
		}
		j.walk(verr)
	}
	return j.out, j.sections
}

type judging struct {
	root *node
	doc  any // the schema
	out  []Problem

	sections map[string]bool
}

// walk collects the complaints that have no cause of their own.
func (j *judging) walk(e *jsonschema.ValidationError) {
	if len(e.Causes) > 0 {
		for _, c := range e.Causes {
			j.walk(c)
		}
		return
	}
	section := ""
	if len(e.InstanceLocation) > 0 {
		section = e.InstanceLocation[0]
	}
	j.sections[section] = true
	n := j.root.at(e.InstanceLocation)
	rule := j.rule(e.SchemaURL)
	where := j.where(e.InstanceLocation)
	say := func(pos Pos, format string, a ...any) {
		j.out = append(j.out, Problem{pos, where + fmt.Sprintf(format, a...)})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		names := slices.Sorted(maps.Keys(properties(rule)))
		for _, p := range k.Properties {
			say(n.keyPos(p), "there is no %q here%s%s", p, known(names), didYouMean(p, names))
		}
	case *kind.Required:
		for _, p := range k.Missing {
			want, _ := properties(rule)[p].(map[string]any)
			say(n.pos, "%s is missing: want %v", p, want["x-want"])
		}
	case *kind.MinProperties, *kind.MaxProperties:
		say(n.pos, "%d keys: want %s", len(n.keys), want(rule))
	case *kind.MinItems, *kind.MaxItems:
		say(n.pos, "%d entries: want %s", len(n.items), want(rule))
	default:
		say(n.pos, "got %s, want %s%s", shown(n), want(rule), didYouMean(n.text(), words(rule)))
	}
}

// where names the place by its path, for a reader: "steps[2].connect: ".
func (j *judging) where(path []string) string {
	s := ""
	n := j.root
	for _, p := range path {
		if n.kind == list {
			s += "[" + p + "]"
		} else if s != "" {
			s += "." + p
		} else {
			s = p
		}
		n = n.at([]string{p})
	}
	if s != "" {
		s += ": "
	}
	return s
}

// rule is the part of the schema that an error speaks of.
func (j *judging) rule(url string) map[string]any {
	_, fragment, _ := strings.Cut(url, "#")
	at := j.doc
	for _, p := range strings.Split(strings.Trim(fragment, "/"), "/") {
		m, ok := at.(map[string]any)
		if !ok || p == "" {
			break
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(p)]
	}
	m, _ := at.(map[string]any)
	return m
}

func properties(rule map[string]any) map[string]any {
	m, _ := rule["properties"].(map[string]any)
	return m
}

// want is what the schema says that it wants, in words.
func want(rule map[string]any) string {
	if s, ok := rule["x-want"].(string); ok {
		return s
	}
	return "another value"
}

// words are the values of an enumeration.
func words(rule map[string]any) []string {
	var out []string
	all, _ := rule["enum"].([]any)
	for _, w := range all {
		if s, ok := w.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// known names what there is, where that is not much.
func known(names []string) string {
	if len(names) == 0 || len(names) > 12 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// shown is a value as the reader wrote it, or nearly.
func shown(n *node) string {
	switch {
	case n.kind == mapping:
		return "keys"
	case n.kind == list:
		return "a list"
	case n.value == nil:
		return "nothing"
	}
	b, err := json.Marshal(n.value)
	if err != nil {
		return fmt.Sprint(n.value)
	}
	const longest = 60
	if s := string(b); len(s) > longest {
		return s[:longest] + "…"
	}
	return string(b)
}
