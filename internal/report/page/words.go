package page

// Translate gives the Chinese form of a text that the program says. Where it has none, ok is false and the text comes back as it is.
func Translate(english string) (chinese string, ok bool) { return translate(english) }
