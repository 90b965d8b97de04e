; The floating-point mode of a thread on x86-64.

declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)

define internal i64 @float_mode_now() {
  %word = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %mode = load i32, ptr %word
  %control = and i32 %mode, -64
  %wide = zext i32 %control to i64
  ret i64 %wide
}

define internal void @set_float_mode(i64 %mode) {
  %word = alloca i32
  %narrow = trunc i64 %mode to i32
  store i32 %narrow, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret void
}
