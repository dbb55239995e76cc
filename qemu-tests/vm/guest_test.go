package vm

import (
	"os"
	"path/filepath"
	"testing"
)

// action is what the test guest does after its message: the distance of a jump.
type action byte

const (
	tick     action = 0x00 // print a hexadecimal counter 18 times a second
	reboot   action = 0x1e // reset through the chipset
	poweroff action = 0x26 // ACPI S5 through the chipset
)

// guest is the image of a machine that prints message and then acts: one boot
// sector, so that a test takes a second.
func guest(t *testing.T, message string, act action) string {
	t.Helper()
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x43, 0x7c, // mov si, 0x7c43: the message
		0xba, 0xf8, 0x03, // mov dx, 0x3f8: COM1
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz act
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xeb, byte(act), // act: jmp tick, reboot or poweroff
		0x31, 0xdb, // tick: xor bx, bx
		0xfb,             // loop: sti
		0xf4,             // hlt
		0x43,             // inc bx
		0xb9, 0x04, 0x00, // mov cx, 4
		0x53,             // push bx
		0xc1, 0xc3, 0x04, // digit: rol bx, 4
		0x88, 0xd8, // mov al, bl
		0x24, 0x0f, // and al, 15
		0x3c, 0x0a, // cmp al, 10
		0x1c, 0x69, // sbb al, 0x69
		0x2f,       // das: 0 to 15 became '0' to 'F'
		0xee,       // out dx, al
		0xe2, 0xf1, // loop digit
		0x5b,       // pop bx
		0xb0, 0x0a, // mov al, newline
		0xee,       // out dx, al
		0xeb, 0xe4, // jmp loop
		0xba, 0xf9, 0x0c, // reboot: mov dx, 0xcf9
		0xb0, 0x06, // mov al, 6
		0xee,             // out dx, al
		0xfa,             // cli
		0xf4,             // hlt
		0xba, 0x04, 0x06, // poweroff: mov dx, 0x604: PM1a control of q35
		0xb8, 0x00, 0x20, // mov ax, 0x2000: sleep enable, type 0
		0xef, // out dx, ax
		0xfa, // cli
		0xf4, // hlt
	}
	return diskFile(t, append(code, message+"\x00"...))
}

// fwCfgGuest is a machine that prints the beginnings of all its fw_cfg files,
// each on a line, and powers off.
func fwCfgGuest(t *testing.T) string {
	t.Helper()
	return diskFile(t, []byte{
		0xbb, 0x20, 0x00, // mov bx, 0x20: first file's key
		0x89, 0xd8, // key: mov ax, bx
		0xba, 0x10, 0x05, // mov dx, 0x510: selector
		0xef,             // out dx, ax
		0xb9, 0x00, 0x02, // mov cx, 512
		0xba, 0x11, 0x05, // byte: mov dx, 0x511: data
		0xec,       // in al, dx
		0x86, 0xe0, // xchg ah, al
		0xba, 0xfd, 0x03, // busy: mov dx, 0x3fd: line status
		0xec,       // in al, dx
		0xa8, 0x20, // test al, 0x20: transmitter empty
		0x74, 0xf8, // jz busy
		0x86, 0xe0, // xchg ah, al
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xe2, 0xea, // loop byte
		0xb0, 0x0a, // mov al, newline
		0xee,             // out dx, al
		0x43,             // inc bx
		0x83, 0xfb, 0x60, // cmp bx, 0x60
		0x72, 0xd8, // jb key
		0xba, 0x04, 0x06, // mov dx, 0x604: power off as above
		0xb8, 0x00, 0x20, // mov ax, 0x2000
		0xef, // out dx, ax
		0xf4, // hlt
	})
}

// bootCounter is a machine that prints how often it was booted, which it keeps
// on its disk, and powers off.
func bootCounter(t *testing.T) string {
	t.Helper()
	return diskFile(t, []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0x8e, 0xc0, // mov es, ax
		0xbb, 0x00, 0x80, // mov bx, 0x8000
		0xb9, 0x02, 0x00, // mov cx, 2: second sector
		0xba, 0x80, 0x00, // mov dx, 0x80: first disk
		0xb8, 0x01, 0x02, // mov ax, 0x0201: read one
		0xcd, 0x13, // int 0x13
		0xfe, 0x06, 0x00, 0x80, // inc byte [0x8000]
		0xba, 0x80, 0x00, // mov dx, 0x80
		0xb9, 0x02, 0x00, // mov cx, 2
		0xb8, 0x01, 0x03, // mov ax, 0x0301: write one
		0xcd, 0x13, // int 0x13
		0xa0, 0x00, 0x80, // mov al, [0x8000]
		0x04, '0', // add al, '0'
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xb0, 0x0a, // mov al, newline
		0xee,             // out dx, al
		0xba, 0x04, 0x06, // mov dx, 0x604: power off as above
		0xb8, 0x00, 0x20, // mov ax, 0x2000
		0xef, // out dx, ax
		0xf4, // hlt
	})
}

func diskFile(t *testing.T, code []byte) string {
	t.Helper()
	// A comma and a space: both are special to QEMU or to a shell.
	file := filepath.Join(t.TempDir(), "a, disk.raw")
	if err := os.WriteFile(file, bootDisk(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
