// Package doctest runs what the documents say: every command line in README.md and docs/ is parsed by the real command tree or run, every
// output marked golden is compared, every link, make target, code and path must exist. It is for tests only; it holds the small reader of
// Markdown that they need.
//
// It is not a Markdown renderer: it knows fenced blocks, code spans, links and headings, as the documents of this repository use them.
//
// Its one trap: only a fenced block with the info string console is read as commands. A command in a block of another kind is not tested.
package doctest

import (
	"regexp"
	"strconv"
	"strings"
)

// Doc is one document, taken apart.
type Doc struct {
	Name    string // path below the root, with slashes
	Text    string
	Blocks  []Block
	Spans   []Span // code spans outside blocks
	Links   []Span // targets of links and images
	Anchors map[string]bool
}

// Block is a fenced block.
type Block struct {
	Line  int      // of its first line of text, from 1
	Info  []string // the words after the fence: console, golden, exit=2
	Lines []string
}

// Span is a piece of text and the line where it begins.
type Span struct {
	Line int
	Text string
}

// Command is a command line in a console block, and what follows it.
type Command struct {
	Span            // the command, without the prompt
	Output []string // up to the next command
}

// Has reports whether the block's info string has a word.
func (b Block) Has(word string) bool {
	for _, w := range b.Info {
		if w == word {
			return true
		}
	}
	return false
}

// Exit is the exit code that a block's info string names, 0 for none: exit=2.
func (b Block) Exit() int {
	for _, w := range b.Info {
		if s, ok := strings.CutPrefix(w, "exit="); ok {
			if n, err := strconv.Atoi(s); err == nil {
				return n
			}
		}
	}
	return 0
}

// Commands are the lines of a console block that begin with a prompt.
func (b Block) Commands() []Command {
	var out []Command
	for i, line := range b.Lines {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, Command{Span: Span{b.Line + i, text}})
		} else if len(out) > 0 {
			last := &out[len(out)-1]
			last.Output = append(last.Output, line)
		}
	}
	return out
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notName  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Parse takes a document apart.
func Parse(name, text string) Doc {
	d := Doc{Name: name, Text: text, Anchors: map[string]bool{}}
	var paragraph []string
	inBlock := false
	end := func(line int) { // of a paragraph, whose last line is line
		d.prose(strings.Join(paragraph, "\n"), line-len(paragraph)+1)
		paragraph = nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && inBlock:
			inBlock = false
		case isFence:
			end(i)
			inBlock = true
			d.Blocks = append(d.Blocks, Block{Line: i + 2, Info: strings.Fields(fence)})
		case inBlock:
			b := &d.Blocks[len(d.Blocks)-1]
			b.Lines = append(b.Lines, line)
		case strings.TrimSpace(line) == "":
			end(i)
		default:
			if strings.HasPrefix(line, "#") {
				d.heading(strings.TrimSpace(strings.TrimLeft(line, "#")))
			}
			paragraph = append(paragraph, line)
		}
	}
	end(len(lines))
	return d
}

// heading notes the name that GitHub gives a heading: a second one of the same name gets a number.
func (d *Doc) heading(text string) {
	name := strings.ReplaceAll(notName.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
	for n, base := 1, name; d.Anchors[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	d.Anchors[name] = true
}

// prose finds code spans and links in a paragraph that begins at a line.
func (d *Doc) prose(text string, line int) {
	at := func(offset int) int { return line + strings.Count(text[:offset], "\n") }
	for _, m := range codeSpan.FindAllStringSubmatchIndex(text, -1) {
		d.Spans = append(d.Spans, Span{at(m[0]), strings.ReplaceAll(text[m[2]:m[3]], "\n", " ")})
	}
	blank := codeSpan.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("x", len(s)) })
	for _, m := range link.FindAllStringSubmatchIndex(blank, -1) {
		d.Links = append(d.Links, Span{at(m[0]), text[m[2]:m[3]]})
	}
}

// Words splits a command line as a shell would, as far as the documents need: quotes are taken off, and the line ends at a pipe, a
// redirection, a list operator or a comment.
func Words(line string) []string {
	var words []string
	var word strings.Builder
	open, quote := false, rune(0)
	flush := func() {
		if open {
			words = append(words, word.String())
			word.Reset()
			open = false
		}
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, open = r, true
		case quote == 0 && r == ' ':
			flush()
		case quote == 0 && (strings.ContainsRune("|>;&", r) || r == '#' && !open):
			flush()
			return words
		default:
			word.WriteRune(r)
			open = true
		}
	}
	flush()
	return words
}
