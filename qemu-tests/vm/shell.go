package vm

import (
	"os/exec"
	"regexp"
	"strings"
)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellLine is cmd as a line to paste into a POSIX shell, with the variables
// of its environment in front.
func shellLine(cmd *exec.Cmd) string {
	words := []string{"env"}
	words = append(words, cmd.Env...)
	words = append(words, cmd.Args...)
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	return strings.Join(words, " ")
}

func shellQuote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
