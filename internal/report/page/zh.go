package page

func translate(en string) (string, bool) { return "", false }
