"use strict";

// Before/after sliders: the right-hand picture begins at the slider's position.
for (const slider of document.querySelectorAll(".compare input")) {
  slider.addEventListener("input", () => slider.parentElement.style.setProperty("--cut", slider.value + "%"));
}

// The 3D view: a grid of triangles at the predicted heights, covered with the image.
async function showSurface() {
  const data = JSON.parse(document.getElementById("surface").textContent);
  const canvas = document.getElementById("view");
  const gl = canvas.getContext("webgl", { preserveDrawingBuffer: true });
  if (!gl) {
    canvas.replaceWith("This browser does not support WebGL, which the 3D view needs.");
    return;
  }
  const image = new Image();
  image.src = data.image;
  await image.decode();

  const shader = (type, text) => {
    const made = gl.createShader(type);
    gl.shaderSource(made, text);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  };
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, `
    attribute vec3 place; attribute float light; uniform mat4 camera; uniform float depth; varying vec2 at; varying float shade;
    void main() {
      at = place.xy; shade = light;
      gl_Position = camera * vec4(place.x - 0.5, place.z, (place.y - 0.5) * depth, 1.0);
    }`));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `
    precision mediump float; uniform sampler2D image; varying vec2 at; varying float shade;
    void main() { gl_FragColor = vec4(texture2D(image, at).rgb * shade, 1.0); }`));
  gl.linkProgram(program);
  gl.useProgram(program);

  const { rows, columns, depth, heights } = data; // heights and depth are divided by the image's width
  gl.uniform1f(gl.getUniformLocation(program, "depth"), depth);
  const vertices = new Float32Array(rows * columns * 4);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const index = row * columns + column;
      const left = heights[row * columns + Math.max(column - 1, 0)];
      const slope = (heights[index] - left) * columns;
      const light = Math.min(1.15, Math.max(0.55, 1 + 0.25 * slope));
      vertices.set([column / (columns - 1), row / (rows - 1), heights[index], light], index * 4);
    }
  }
  const triangles = new Uint16Array((rows - 1) * (columns - 1) * 6);
  for (let row = 0, next = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++, next += 6) {
      const a = row * columns + column, b = a + columns;
      triangles.set([a, b, a + 1, a + 1, b, b + 1], next);
    }
  }
  const fill = (target, content) => {
    gl.bindBuffer(target, gl.createBuffer());
    gl.bufferData(target, content, gl.STATIC_DRAW);
  };
  fill(gl.ARRAY_BUFFER, vertices);
  fill(gl.ELEMENT_ARRAY_BUFFER, triangles);
  for (const [name, size, start] of [["place", 3, 0], ["light", 1, 12]]) {
    const location = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, gl.FLOAT, false, 16, start);
  }
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.enable(gl.DEPTH_TEST);

  const view = { turn: 0.6, tilt: 0.8, distance: 1.35 };
  function draw() {
    const [st, ct, sp, cp] = [Math.sin(view.turn), Math.cos(view.turn), Math.sin(view.tilt), Math.cos(view.tilt)];
    const f = 1.8, aspect = canvas.width / canvas.height, near = 0.05, far = 10;
    const a = (far + near) / (near - far), b = (2 * far * near) / (near - far);
    // Column-major: rotate about the vertical axis, tilt, move back, perspective.
    const rotate = [[ct, sp * st, -cp * st], [0, cp, sp], [st, -sp * ct, cp * ct]];
    const camera = [];
    for (const [x, y, z] of rotate) camera.push((f / aspect) * x, f * y, a * z, -z);
    camera.push(0, 0, -a * view.distance + b, view.distance);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "camera"), false, camera);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.drawElements(gl.TRIANGLES, triangles.length, gl.UNSIGNED_SHORT, 0);
  }
  const turn = (dx, dy) => {
    view.turn += dx * 0.008;
    view.tilt = Math.min(1.55, Math.max(0.1, view.tilt + dy * 0.008));
    draw();
  };
  const step = (factor) => {
    view.distance = Math.min(4, Math.max(0.6, view.distance * factor));
    draw();
  };
  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, event));
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  window.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    if (fingers.size === 1) turn(event.clientX - last.clientX, event.clientY - last.clientY);
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
      const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
      step(apart(last) / Math.max(1, apart(event)));
    }
    fingers.set(event.pointerId, event);
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); step(Math.exp(event.deltaY * 0.001)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] }[event.key];
    if (way) { event.preventDefault(); turn(...way); }
  });
  draw();
  document.body.dataset.ready = "yes";
}
showSurface();
