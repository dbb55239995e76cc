package main

import (
	"bytes"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// The QR code on the terminal, read by a program that did not write it, is the
// client's config.
func TestClientQR(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	yaml, err := os.ReadFile("../../examples/openclaw/ingot.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "ingot.yaml"), string(yaml))
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"client", "add", "phone", dir, "--endpoint", "claw.example.com", "--qr"}, &stdout, &stderr); code != exitFine {
		t.Fatalf("ended with %d: %s", code, stderr.String())
	}
	config, err := os.ReadFile(filepath.Join(dir, "secrets/clients/phone.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeQR(t, stdout.String()); got != string(config) {
		t.Errorf("the code says\n%s\nthe file\n%s", got, config)
	}
	for name, text := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String()} {
		if strings.Contains(text, "PrivateKey") {
			t.Errorf("%s shows the private key in clear", name)
		}
	}
}

// decodeQR reads a code of half blocks: each character is two modules, one
// above the other.
func decodeQR(t *testing.T, terminal string) string {
	t.Helper()
	const scale = 8
	var rows [][]rune
	for line := range strings.Lines(terminal) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && strings.Trim(line, " █▀▄") == "" {
			rows = append(rows, []rune(line))
		}
	}
	if len(rows) == 0 {
		t.Fatalf("there is no code in\n%s", terminal)
	}
	picture := image.NewGray(image.Rect(0, 0, len(rows[0])*scale, len(rows)*2*scale))
	for y, row := range rows {
		for x, r := range row {
			module(picture, x, 2*y, scale, r == '█' || r == '▀')
			module(picture, x, 2*y+1, scale, r == '█' || r == '▄')
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	result, err := qrcode.NewQRCodeReader().DecodeWithoutHints(bitmap)
	if err != nil {
		t.Fatalf("%v in\n%s", err, terminal)
	}
	return result.GetText()
}

// module fills one module of the picture; lit ones are white.
func module(picture *image.Gray, x, y, scale int, lit bool) {
	if !lit {
		return
	}
	for i := range scale {
		for j := range scale {
			picture.SetGray(x*scale+i, y*scale+j, color.Gray{Y: 255})
		}
	}
}
