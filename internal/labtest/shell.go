package labtest

import (
	"fmt"
	"strings"
)

// Words are those of a simple command, as a POSIX shell splits it. What a shell would do more with, such as a second command, a redirection or a
// variable, is an error.
func Words(line string) (words []string, err error) {
	var word strings.Builder
	began, quoted := false, rune(0)
	rs := []rune(line)
	for i := 0; i < len(rs); i++ {
		r := rs[i]
		switch {
		case quoted == '\'' && r != '\'':
			word.WriteRune(r)
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted == '"' && (r == '$' || r == '`'), quoted == 0 && strings.ContainsRune("|&;<>()$`*?[#~{}!\n", r):
			return nil, fmt.Errorf("character %d of %q means something to a shell: %q", i, line, r)
		case quoted == 0 && (r == '\'' || r == '"'):
			quoted, began = r, true
		case r == '\\' && i+1 < len(rs) && (quoted == 0 || strings.ContainsRune("\"\\$`", rs[i+1])):
			i++
			word.WriteRune(rs[i])
			began = true
		case quoted == 0 && (r == ' ' || r == '\t'):
			if began {
				words = append(words, word.String())
			}
			word.Reset()
			began = false
		default:
			word.WriteRune(r)
			began = true
		}
	}
	if quoted != 0 {
		return nil, fmt.Errorf("%q: a quotation has no end", line)
	}
	if began {
		words = append(words, word.String())
	}
	return words, nil
}
