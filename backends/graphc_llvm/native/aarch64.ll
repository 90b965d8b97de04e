; The floating-point mode of a thread on AArch64.

define internal i64 @float_mode_now() {
  %mode = call i64 asm sideeffect "mrs $0, fpcr", "=r"()
  ret i64 %mode
}

define internal void @set_float_mode(i64 %mode) {
  call void asm sideeffect "msr fpcr, $0", "r"(i64 %mode)
  ret void
}
