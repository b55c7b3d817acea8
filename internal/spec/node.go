package spec

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Pos is a place in a file, both counted from 1. The zero value is the file as a whole.
type Pos struct {
	Line int `json:"line"`
	Col  int `json:"col"`
}

// node is a value of a YAML document with its place.
type node struct {
	pos   Pos
	value any // string, int64, float64, bool or nil; a map's or a list's is nil
	keys  []entry
	items []*node
	kind  kindOf
	block bool // a text over several lines, as it stands
}

type kindOf int

const (
	scalar kindOf = iota
	mapping
	list
)

type entry struct {
	name string
	pos  Pos
	val  *node
}

const (
	maxBytes = 1 << 20 // of a file
	maxDepth = 20      // of maps in lists in maps; the form needs five
)

// get is the value of a map's key; nil where there is none.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.keys {
		if e.name == key {
			return e.val
		}
	}
	return nil
}

// at is the node at a path of keys and indices, as far as it leads.
func (n *node) at(path []string) *node {
	for _, p := range path {
		next := n.get(p)
		if n.kind == list {
			var i int
			if _, err := fmt.Sscan(p, &i); err == nil && i >= 0 && i < len(n.items) {
				next = n.items[i]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// keyPos is where a map's key stands.
func (n *node) keyPos(key string) Pos {
	for _, e := range n.keys {
		if e.name == key {
			return e.pos
		}
	}
	return n.pos
}

// plain is the value as JSON has it.
func (n *node) plain() any {
	switch n.kind {
	case mapping:
		m := map[string]any{}
		for _, e := range n.keys {
			m[e.name] = e.val.plain()
		}
		return m
	case list:
		l := make([]any, len(n.items))
		for i, x := range n.items {
			l[i] = x.plain()
		}
		return l
	}
	return n.value
}

// text is a string's value; "" for everything else.
func (n *node) text() string {
	if n == nil {
		return ""
	}
	s, _ := n.value.(string)
	return s
}

// number is an integer's value; 0 for everything else.
func (n *node) number() int {
	if n == nil {
		return 0
	}
	i, _ := n.value.(int64)
	return int(i)
}

func (n *node) truth() bool {
	if n == nil {
		return false
	}
	b, _ := n.value.(bool)
	return b
}

// reader turns the syntax tree into nodes, and collects what it cannot take.
type reader struct{ problems []Problem }

func (r *reader) problem(pos Pos, format string, a ...any) {
	r.problems = append(r.problems, Problem{pos, fmt.Sprintf(format, a...)})
}

// read parses one YAML document. The parser is not ours, and it has been known to panic on bytes that are no YAML.
func read(src []byte) (n *node, problems []Problem) {
	r := &reader{}
	defer func() {
		if p := recover(); p != nil {
			n, problems = nil, []Problem{{Pos{1, 1}, fmt.Sprintf("not YAML: %v", p)}}
		}
	}()
	if len(src) > maxBytes {
		return nil, []Problem{{Pos{1, 1}, fmt.Sprintf("a file of %d bytes: want at most %d", len(src), maxBytes)}}
	}
	f, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, []Problem{syntax(err)}
	}
	var docs []*ast.DocumentNode
	for _, d := range f.Docs {
		if d.Body != nil {
			docs = append(docs, d)
		}
	}
	switch {
	case len(docs) == 0:
		return nil, []Problem{{Pos{1, 1}, "the file is empty: `tcplab new --from exp1` writes one to begin with"}}
	case len(docs) > 1:
		return nil, []Problem{{posOf(docs[1].Body), "a second document: want one experiment in a file"}}
	}
	n = r.node(docs[0].Body, 0)
	return n, r.problems
}

// syntax is the parser's complaint with its place.
func syntax(err error) Problem {
	type placed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	p := Problem{Pos{1, 1}, "not YAML: " + err.Error()}
	if e, ok := err.(placed); ok {
		p.Text = "not YAML: " + e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.Pos = Pos{t.Position.Line, t.Position.Column}
		}
	}
	return p
}

func posOf(n ast.Node) Pos {
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 && !v.IsFlowStyle {
			return posOf(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return posOf(v.Key)
	}
	if n == nil {
		return Pos{1, 1}
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return Pos{t.Position.Line, t.Position.Column}
	}
	return Pos{1, 1}
}

// node turns one node of the syntax tree into ours.
func (r *reader) node(n ast.Node, depth int) *node {
	out := &node{pos: posOf(n)}
	if depth > maxDepth {
		r.problem(out.pos, "nested more than %d deep", maxDepth)
		return out
	}
	switch v := n.(type) {
	case nil, *ast.NullNode:
	case *ast.MappingNode:
		out.kind = mapping
		for _, e := range v.Values {
			r.entry(out, e, depth)
		}
	case *ast.MappingValueNode:
		out.kind = mapping
		r.entry(out, v, depth)
	case *ast.SequenceNode:
		out.kind = list
		for _, x := range v.Values {
			out.items = append(out.items, r.node(x, depth+1))
		}
	case *ast.LiteralNode:
		out.value = v.Value.Value
		out.block = v.Start != nil && strings.HasPrefix(v.Start.Value, "|")
	case *ast.StringNode:
		out.value = v.Value
	case *ast.BoolNode:
		out.value = v.Value
	case *ast.IntegerNode:
		out.value = integer(v.Value)
	case *ast.FloatNode:
		out.value = v.Value
	default:
		r.problem(out.pos, "%s: anchors, aliases, tags and special numbers are not taken; write the value out", n.Type())
	}
	return out
}

// integer makes one kind of the parser's several. What does not fit is no number that the form has a place for.
func integer(v any) any {
	switch i := v.(type) {
	case int64:
		return i
	case uint64:
		if i <= 1<<62 {
			return int64(i)
		}
		return float64(i)
	case int:
		return int64(i)
	}
	return v
}

// entry adds one key of a map with its value.
func (r *reader) entry(m *node, e *ast.MappingValueNode, depth int) {
	pos := posOf(e.Key)
	name, ok := e.Key.(*ast.StringNode)
	if !ok {
		r.problem(pos, "the key %s: want a word", e.Key.String())
		return
	}
	for _, have := range m.keys {
		if have.name == name.Value {
			r.problem(pos, "%s is there twice: first in line %d", name.Value, have.pos.Line)
			return
		}
	}
	val := r.node(e.Value, depth+1)
	if val.pos == (Pos{1, 1}) && e.Value == nil {
		val.pos = pos
	}
	m.keys = append(m.keys, entry{name.Value, pos, val})
}
