package main

import (
	"encoding/json"
	"fmt"
	"ingot/config"
	"os"
	"path/filepath"
)

func w(root, p, c string, mode int) {
	f := filepath.Join(root, p)
	os.MkdirAll(filepath.Dir(f), 0o755)
	os.Remove(f)
	if err := os.WriteFile(f, []byte(c), os.FileMode(mode)); err != nil {
		panic(err)
	}
}
func main() {
	l, f, err := config.Load(os.Args[1])
	if err != nil || len(f) > 0 {
		config.Render(os.Stdout, f)
		panic(err)
	}
	r := os.Args[2]
	for _, x := range append(l.Plan.Image.Files, l.Plan.Instance.Files...) {
		w(r, x.Path, x.Contents, x.Mode)
	}
	for _, x := range l.Plan.Image.Links {
		os.MkdirAll(filepath.Dir(filepath.Join(r, x.Path)), 0o755)
		os.Remove(filepath.Join(r, x.Path))
		os.Symlink(x.Target, filepath.Join(r, x.Path))
	}
	preset := ""
	for _, u := range l.Plan.Image.Units {
		p := "/etc/systemd/system/" + u.Name
		if u.Contents != "" {
			w(r, p, u.Contents, 0o644)
		}
		if u.Mask {
			os.Remove(filepath.Join(r, p))
			os.Symlink("/dev/null", filepath.Join(r, p))
		}
		if u.Enabled != nil && *u.Enabled {
			preset += "enable " + u.Name + "\n"
		}
		for _, d := range u.Dropins {
			w(r, p+".d/"+d.Name, d.Contents, 0o644)
		}
	}
	w(r, "/etc/systemd/system-preset/20-ignition.preset", preset+"disable *\n", 0o644)
	for _, v := range l.Plan.Validators {
		b, _ := json.Marshal(v.Argv)
		fmt.Println(string(b))
	}
}
