package page

// Translate gives the Chinese form of a text that the program says. Where it has none, ok is false and the text comes back as it is.
func Translate(english string) (chinese string, ok bool) { return translate(english) }

// Style is the style sheet of the page, for pages that are to look like it.
func Style() string { return style }

// Policy is the Content-Security-Policy that the page carries, for who serves it.
func Policy() string { return policy() }

// linkView is a Link in both languages.
type linkView struct {
	Text text
	Href string
}
