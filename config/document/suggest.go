package document

import "unicode"

// Nearest returns the name most like got, or "" when none is near enough to be
// a misspelling: no more than a third of its letters, and at most 3, differ.
func Nearest(got string, names []string) string {
	best, distance := "", min(max(len(got)/3, 1), 3)+1
	for _, name := range names {
		if len(got) > 2*len(name)+3 {
			continue // far too long, and edits takes time with the product of both
		}
		if d := edits([]rune(got), []rune(name)); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours
// that turn a into b (optimal string alignment); letter case is free.
func edits(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := range a {
		for j := range b {
			cost := 1
			if lower(a[i]) == lower(b[j]) {
				cost = 0
			}
			rows[i+1][j+1] = min(rows[i][j+1]+1, rows[i+1][j]+1, rows[i][j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				rows[i+1][j+1] = min(rows[i+1][j+1], rows[i-1][j-1]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// lower folds letter case and the two word separators.
func lower(r rune) rune {
	if r == '_' {
		return '-'
	}
	return unicode.ToLower(r)
}
